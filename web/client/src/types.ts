import type { Presence } from './schema.ts';

export type { Presence, Status } from './schema.ts';

/** A presence as a watcher sees it. */
export interface Person extends Presence {
  /**
   * This may be out of date: it has expired, or the subscription is down, and
   * the server has not answered since.
   */
  stale: boolean;
}

/** What a {@link Client} tells of one subscription. */
export interface Observer<T> {
  /** The server has accepted the subscription, for the first time or again: what happened before may have been missed. */
  ready(): void;
  next(data: T): void;
  /** The connection is lost; the client restores it by itself and calls ready again. */
  lost(): void;
  /** The subscription has ended. Nothing is called after this. */
  error(cause: unknown): void;
}

/**
 * The AppSync client that presence talks through: {@link fromAmplify},
 * {@link fromApollo} or {@link createAppSyncClient} make one.
 */
export interface Client {
  /** Sends a query or a mutation and resolves to its data. It rejects if there are errors. */
  request<T>(document: string, variables: Record<string, unknown>): Promise<T>;
  /** Starts a subscription and returns what ends it. */
  subscribe<T>(document: string, variables: Record<string, unknown>, observer: Observer<T>): () => void;
}
