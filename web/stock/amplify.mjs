import { library, region } from './suite.mjs';

/** The suite's client on Amplify 6, of whichever version. */
export const amplify6 = (Amplify, generateClient, Hub) => ({
  modes: ['userPool', 'iam'],
  restores: true,
  connect(mode, { endpoint, token, credentials }) {
    Amplify.configure(
      { API: { GraphQL: { endpoint, region, defaultAuthMode: mode } } },
      {
        Auth: {
          tokenProvider: {
            async getTokens() {
              const jwt = await token();
              return { accessToken: { payload: {}, toString: () => jwt } };
            },
          },
          credentialsProvider: {
            getCredentialsAndIdentityId: async () => ({ credentials }),
            clearCredentialsAndIdentityId() {},
          },
        },
      },
    );
    const client = generateClient();
    return {
      adapted: library.fromAmplify(client, Hub),
      request: async (query, variables) => (await client.graphql({ query, variables })).data,
      subscribe(query, variables, next, error) {
        const subscription = client.graphql({ query, variables }).subscribe({ next: ({ data }) => next(data), error });
        return () => subscription.unsubscribe();
      },
    };
  },
});
