import type { Client, Observer } from './types.ts';

/** What is used of an Amplify v6 client, as generateClient() makes it. */
export interface AmplifyClient {
  graphql(options: { query: string; variables: Record<string, unknown> }): unknown;
}

/** What is used of Amplify's Hub. */
export interface AmplifyHub {
  listen(channel: 'api', callback: (capsule: { payload: { event: string; data?: unknown } }) => void): () => void;
}

interface Subscribable {
  subscribe(observer: { next(message: { data: unknown }): void; error(cause: unknown): void; complete(): void }): { unsubscribe(): void };
}

/**
 * fromAmplify adapts an Amplify v6 client. Amplify restores subscriptions by
 * itself and tells of it on its Hub only, so it needs that too:
 *
 *     import { generateClient } from 'aws-amplify/api';
 *     import { Hub } from 'aws-amplify/utils';
 *     fromAmplify(generateClient(), Hub)
 */
export function fromAmplify(client: AmplifyClient, hub: AmplifyHub): Client {
  return {
    async request<T>(query: string, variables: Record<string, unknown>) {
      return ((await client.graphql({ query, variables })) as { data: T }).data;
    },
    subscribe<T>(query: string, variables: Record<string, unknown>, observer: Observer<T>) {
      let open = true;
      let accepted = false;
      const stop = () => {
        if (!open) return;
        open = false;
        unlisten();
        subscription?.unsubscribe();
      };
      const fail = (cause: unknown) => {
        if (!open) return;
        stop();
        observer.error(cause);
      };
      const wanted = JSON.stringify(variables);
      const field = /{\s*(\w+)/.exec(query)![1]!;
      const unlisten = hub.listen('api', ({ payload }) => {
        const data = payload.data as { query?: string; variables?: unknown; connectionState?: string } | undefined;
        if (payload.event === 'Subscription ack') {
          if (!data?.query?.includes(field) || JSON.stringify(data.variables) !== wanted) return;
          accepted = true;
          observer.ready();
          return;
        }
        if (payload.event !== 'ConnectionStateChange') return;
        // The socket is shared: before the acceptance this may be the end of an older
        // one, and Amplify tells of one loss in several states.
        if (accepted && data?.connectionState?.startsWith('ConnectionDisrupted')) {
          accepted = false;
          observer.lost();
        }
        // Amplify waits for AppSync's 300 s. It misses a keep-alive after 65 s, and
        // there is nothing to wait for then.
        if (data?.connectionState === 'ConnectedPendingKeepAlive') fail(new Error('A keep-alive is missing.'));
      });
      let subscription: { unsubscribe(): void } | undefined;
      subscription = (client.graphql({ query, variables }) as Subscribable).subscribe({
        next: ({ data }) => observer.next(data as T),
        error: fail,
        complete: () => fail(new Error('The subscription was completed.')),
      });
      // It may have failed before there was anything to unsubscribe.
      if (!open) subscription.unsubscribe();
      return stop;
    },
  };
}
