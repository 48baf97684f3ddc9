import type { Client, Observer } from './types.ts';

/** What is used of an Apollo client, version 3 or 4. */
export interface ApolloClient<Document> {
  query(options: { query: Document; variables: Record<string, unknown>; fetchPolicy: 'no-cache' }): Promise<{ data?: unknown }>;
  mutate(options: { mutation: Document; variables: Record<string, unknown>; fetchPolicy: 'no-cache' }): Promise<{ data?: unknown }>;
  subscribe(options: { query: Document; variables: Record<string, unknown>; fetchPolicy: 'no-cache'; context: Record<string, unknown> }): {
    subscribe(observer: { next(result: unknown): void; error(cause: unknown): void; complete(): void }): { unsubscribe(): void };
  };
}

// Apollo 4 keeps the link's word that a subscription is accepted to itself. Most
// are by the first of these times; by the second the link has given up, and said
// so, on one that is not.
const assumed = [1_000, 16_000];

/**
 * fromApollo adapts an Apollo client whose link is AppSync's
 * (aws-appsync-subscription-link 3 or 4):
 *
 *     import { gql } from '@apollo/client';
 *     fromApollo(client, gql)
 *
 * Create the link with keepAliveTimeoutMs, 130_000 say: without it a dead
 * connection is noticed after five minutes only.
 */
export function fromApollo<Document>(client: ApolloClient<Document>, gql: (source: string) => Document): Client {
  return {
    async request<T>(source: string, variables: Record<string, unknown>) {
      const document = gql(source);
      // Presence is not for the cache: only asOf tells old from new.
      const options = { variables, fetchPolicy: 'no-cache' } as const;
      const result = source.startsWith('mutation')
        ? await client.mutate({ mutation: document, ...options })
        : await client.query({ query: document, ...options });
      return result.data as T;
    },
    subscribe<T>(source: string, variables: Record<string, unknown>, observer: Observer<T>) {
      let open = true;
      const timers = assumed.map((ms) => setTimeout(() => observer.ready(), ms));
      const certain = () => timers.forEach(clearTimeout);
      const fail = (cause: unknown) => {
        if (!open) return;
        open = false;
        certain();
        observer.error(cause);
      };
      const subscription = client
        .subscribe({
          query: gql(source),
          variables,
          fetchPolicy: 'no-cache',
          // Lets the link's own messages through, of which one is the acceptance.
          context: { controlMessages: { '@@controlEvents': true }, queryDeduplication: false },
        })
        .subscribe({
          next(result) {
            if (!open) return;
            const { data, extensions, error } = result as { data?: T; extensions?: { controlMsgType?: string }; error?: unknown };
            if (extensions?.controlMsgType) {
              if (extensions.controlMsgType !== 'CONNECTED') return;
              certain();
              observer.ready();
            } else if (error) fail(error);
            else if (data) observer.next(data);
          },
          error: fail,
          complete: () => fail(new Error('The subscription was completed.')),
        });
      return () => {
        open = false;
        certain();
        subscription.unsubscribe();
      };
    },
  };
}
