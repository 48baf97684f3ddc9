import { createRequire } from 'node:module';
import { apollo } from '../apollo.mjs';
import { suite } from '../suite.mjs';

// As ES modules in Node the links find no Sha256 to sign with.
const require = createRequire(import.meta.url);

suite('apollo-4', apollo(require('@apollo/client/core'), require('aws-appsync-auth-link'), require('aws-appsync-subscription-link')));
