import { Beat } from './beat.ts';
import { currentPage, type Page } from './page.ts';
import { createAppSyncClient } from './appsync.ts';
import { createSleeper } from './time.ts';
import type { Client } from './types.ts';
import { Watcher, type People } from './watch.ts';

export { fromAmplify } from './amplify.ts';
export { fromApollo } from './apollo.ts';
export { createAppSyncClient, type AppSyncClient, type AppSyncOptions, type Result, type WireEvent } from './appsync.ts';
export type { Client, People, Page };
export { fields } from './schema.ts';
export type { Observer, Person, Presence as PresenceState, Status } from './types.ts';

export interface PresenceOptions {
  /** The AppSync client to talk through. If omitted, one is made that needs no other library. */
  client?: Client;
  /** The GraphQL endpoint. With a client of your own it is for the one request that must outlive the page. */
  endpoint: string;
  /** The signed-in user's JWT. It is called before each beat, so it may refresh the token. */
  token: () => string | Promise<string>;
  /**
   * The page to show: by default the address bar's and its title. Null is a page
   * that is not shown. A URL may carry what only its visitor should see; leave
   * that out here.
   */
  page?: () => Page | null;
  /** Told of what goes wrong. All of it is tried again. */
  onError?: (cause: unknown) => void;
}

/** One tab's presence, and its view of others'. */
export interface Presence {
  /**
   * Watches people. onChange is called with all of them, soon and after every
   * change, until the function that is returned is called. Watching the same
   * person several times costs one subscription.
   */
  watch(userIds: readonly string[], onChange: (people: People) => void): () => void;
  /**
   * Signs out: others see it at once, and every watch ends. It rejects if the
   * server could not be told; then the timeout tells them.
   */
  leave(): Promise<void>;
}

/**
 * createPresence makes the signed-in user present on this page, for as long as
 * the page is there, and shows how others are.
 */
export function createPresence(options: PresenceOptions): Presence {
  const { endpoint, token, page = currentPage, onError = () => {} } = options;
  const client = options.client ?? createAppSyncClient({ endpoint, token });
  const sleeper = createSleeper();
  const watcher = new Watcher(client, sleeper.sleep, onError);
  let beat: Beat | undefined;

  const start = () => {
    beat ??= new Beat({ client, endpoint, token, page, onError, onAnswer: (presence) => watcher.offer(presence) }, sleeper.sleep);
  };
  // A page that is only prepared has not been opened.
  if ('prerendering' in document && document.prerendering) document.addEventListener('prerenderingchange', start, { once: true });
  else start();

  const hide = () => {
    beat?.hide();
    watcher.suspend();
  };
  const show = (event: Event) => {
    if (!(event as PageTransitionEvent).persisted) return;
    beat?.show();
    watcher.resume();
  };
  const online = () => beat?.now();
  const awake = () => {
    beat?.check();
    if (!document.hidden) watcher.refresh(0);
  };
  const listeners = [
    [window, 'pagehide', hide],
    [window, 'pageshow', show],
    [window, 'online', online],
    [window, 'focus', awake],
    [document, 'visibilitychange', awake],
    [document, 'resume', awake],
  ] as const;
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);

  return {
    watch: (userIds, onChange) => watcher.watch(userIds, onChange),
    async leave() {
      for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
      document.removeEventListener('prerenderingchange', start);
      watcher.close();
      try {
        await beat?.leave();
      } finally {
        sleeper.close();
      }
    },
  };
}
