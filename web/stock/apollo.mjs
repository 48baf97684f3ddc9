import { library, region } from './suite.mjs';

/** The suite's client on Apollo with AppSync's links, of whichever version. */
export const apollo = (
  { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql },
  { createAuthLink },
  { createSubscriptionHandshakeLink },
) => ({
  modes: ['userPool', 'iam'],
  restores: false,
  connect(mode, { endpoint: url, token, credentials }) {
    const auth = mode === 'iam' ? { type: 'AWS_IAM', credentials } : { type: 'AMAZON_COGNITO_USER_POOLS', jwtToken: token };
    // Apollo 4 adds an extension to the body, which the link does not sign.
    const http = new HttpLink({ uri: url, enhancedClientAwareness: { transport: false } });
    const client = new ApolloClient({
      link: ApolloLink.from([createAuthLink({ url, region, auth }), createSubscriptionHandshakeLink({ url, region, auth }, http)]),
      cache: new InMemoryCache(),
      defaultOptions: { query: { fetchPolicy: 'no-cache' }, mutate: { fetchPolicy: 'no-cache' } },
    });
    return {
      adapted: library.fromApollo(client, gql),
      async request(source, variables) {
        const document = gql(source);
        const { data } = source.startsWith('mutation')
          ? await client.mutate({ mutation: document, variables })
          : await client.query({ query: document, variables });
        return data;
      },
      subscribe(source, variables, next, error) {
        const subscription = client.subscribe({ query: gql(source), variables, fetchPolicy: 'no-cache' }).subscribe({
          next: (result) => (result.error ? error(result.error) : next(result.data)),
          error,
        });
        return () => subscription.unsubscribe();
      },
    };
  },
});
