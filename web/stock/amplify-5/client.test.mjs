import api from '@aws-amplify/api';
import auth from '@aws-amplify/auth';
import core from '@aws-amplify/core';
import { region, suite } from '../suite.mjs';

const clientID = 'local';

suite('amplify-5', {
  modes: ['userPool'],
  restores: true,
  async connect(_mode, { endpoint, token }) {
    // Where a sign-in with Cognito would have left its tokens.
    const prefix = `CognitoIdentityServiceProvider.${clientID}`;
    const entries = { [`${prefix}.LastAuthUser`]: 'alice' };
    const signIn = async () => {
      const jwt = await token();
      for (const kind of ['idToken', 'accessToken', 'refreshToken']) entries[`${prefix}.alice.${kind}`] = jwt;
    };
    await signIn();
    core.Amplify.configure({
      aws_appsync_graphqlEndpoint: endpoint,
      aws_appsync_region: region,
      aws_appsync_authenticationType: 'AMAZON_COGNITO_USER_POOLS',
      Auth: {
        region,
        userPoolId: `${region}_local`,
        userPoolWebClientId: clientID,
        storage: {
          getItem: (key) => entries[key] ?? null,
          setItem: (key, value) => (entries[key] = value),
          removeItem: (key) => delete entries[key],
          clear() {},
        },
      },
    });
    auth.Auth.configure();
    return {
      signIn,
      request: async (query, variables) => (await api.API.graphql({ query, variables })).data,
      subscribe(query, variables, next, error) {
        const subscription = api.API.graphql({ query, variables }).subscribe({ next: ({ value }) => next(value.data), error });
        return () => subscription.unsubscribe();
      },
    };
  },
});
