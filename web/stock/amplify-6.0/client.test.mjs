import { Amplify } from 'aws-amplify';
import { generateClient } from 'aws-amplify/api';
import { Hub } from 'aws-amplify/utils';
import { amplify6 } from '../amplify.mjs';
import { suite } from '../suite.mjs';

suite('amplify-6.0', amplify6(Amplify, generateClient, Hub));
