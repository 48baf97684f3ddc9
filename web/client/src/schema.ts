// Made from schema.graphql by go test ./web -run SchemaOfClient -update. Do not edit.

/** Whether somebody is there. */
export type Status = 'online' | 'offline';

/**
 * What is known of one user at one moment. Presences of a user are ordered by
 * asOf: keep the one with the greatest and drop the rest, in whatever order they
 * arrive.
 */
export interface Presence {
  /** The user this is about. */
  userId: string;
  /** Online or offline, as of asOf. */
  status: Status;
  /** The page the user is on. Null when offline, and when the page is not shown. */
  url: string | null;
  /** The title of that page. Null whenever url is. */
  title: string | null;
  /** When the user last gave a sign of life. Null for a user never seen, or forgotten after the retention. */
  lastSeen: string | null;
  /** The moment at which this was true, by the server's clock. Never the same for two different states of a user, and never runs backwards. */
  asOf: string;
  /** When the user goes offline unless another heartbeat arrives. Null when offline. */
  expiresAt: string | null;
  /** How often a client should send heartbeat, in milliseconds. */
  heartbeatIntervalMs: number;
}

/** The fields of Presence that clients select: all but topics, which is null in every answer to them. */
export const fields = 'userId status url title lastSeen asOf expiresAt heartbeatIntervalMs';
