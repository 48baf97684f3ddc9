import * as client from '@apollo/client/core/index.js';
import * as authLink from 'aws-appsync-auth-link';
import * as subscriptionLink from 'aws-appsync-subscription-link';
import { apollo } from '../apollo.mjs';
import { suite } from '../suite.mjs';

suite('apollo-3', apollo(client, authLink, subscriptionLink));
