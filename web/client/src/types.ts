/** Whether somebody is there. */
export type Status = 'online' | 'offline';

/** What is known of one user at one moment, as the API answers it. Times are ISO 8601 in UTC. */
export interface Presence {
  userId: string;
  status: Status;
  /** The page the user is on; null when offline or not shown. It is somebody else's text: link it only if it is http(s). */
  url: string | null;
  title: string | null;
  lastSeen: string | null;
  /** When this was true by the server's clock. Of two presences of a user the one with the greater asOf holds. */
  asOf: string;
  expiresAt: string | null;
  heartbeatIntervalMs: number;
}

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
