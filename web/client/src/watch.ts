import { MAX_STATUSES, MAX_WATCHED, ON_PRESENCE, STATUSES } from './operations.ts';
import { Alarm, backOff, within, type Sleep } from './time.ts';
import type { Client, Person, Presence } from './types.ts';

/** The people of one watch, in the order asked; who is not known yet is not in it. */
export type People = ReadonlyMap<string, Person>;

interface Watch {
  userIds: readonly string[];
  onChange: (people: People) => void;
  changed: boolean;
}

interface Entry {
  userId: string;
  watches: Set<Watch>;
  presence?: Presence;
  /** When presence expires, by this machine's clock. */
  expires: number;
  /** The line that subscribes to this user. */
  line?: Line;
  /** The subscription is accepted, and the server has answered since. */
  live: boolean;
  stale: boolean;
}

interface Subscription {
  userIds: ReadonlySet<string>;
  accepted: boolean;
  stop: () => void;
}

/**
 * A line keeps one subscription to at most MAX_WATCHED users. Where its users
 * change, the next subscription is accepted before the current one ends.
 */
interface Line {
  userIds: Set<string>;
  current?: Subscription | undefined;
  next?: Subscription | undefined;
  retry: Alarm;
  failures: number;
}

const same = (a: ReadonlySet<string>, b: ReadonlySet<string>) => a.size === b.size && [...a].every((userId) => b.has(userId));

// Answers to subscriptions come in a row; their users are asked for together.
const collect = 100;

// A subscription that takes longer is not waited for with the first question.
const patience = 3_000;

// Expired people are asked about at most this often, and everybody who saw the
// same event would ask at the same moment: the spread keeps them apart.
const requeryGap = 60_000;
const requerySpread = 10_000;

const retryFirst = 2_000;
const retryMost = 60_000;
const answerLimit = 15_000;

/**
 * Watcher knows how people are. One subscription serves all watches, up to
 * MAX_WATCHED users; more users take more subscriptions. Subscriptions may lose
 * messages, so it asks as well: whenever a subscription is accepted, and once
 * people have expired.
 */
export class Watcher {
  readonly #entries = new Map<string, Entry>();
  readonly #lines = new Set<Line>();
  readonly #wanted = new Set<string>();
  readonly #ask: Alarm;
  readonly #tick: Alarm;
  readonly #first: Alarm;
  #failures = 0;
  #asked = -Infinity;
  #requeryAt = Infinity;
  #suspended = false;
  #notifying = false;
  #planning = false;

  constructor(
    private readonly client: Client,
    private readonly sleep: Sleep,
    private readonly onError: (cause: unknown) => void,
  ) {
    this.#ask = new Alarm(sleep, () => void this.#query());
    this.#tick = new Alarm(sleep, () => this.refresh());
    this.#first = new Alarm(sleep, () => this.#wantUnknown());
  }

  watch(userIds: readonly string[], onChange: (people: People) => void): () => void {
    const watch: Watch = { userIds: [...new Set(userIds)], onChange, changed: false };
    for (const userId of watch.userIds) {
      let entry = this.#entries.get(userId);
      if (!entry) {
        entry = { userId, watches: new Set(), expires: Infinity, live: false, stale: true };
        this.#entries.set(userId, entry);
      }
      entry.watches.add(watch);
      if (entry.presence) this.#changed(entry);
    }
    this.#plan();
    return () => {
      for (const userId of watch.userIds) this.#entries.get(userId)?.watches.delete(watch);
      this.#plan();
    };
  }

  /** Takes what is known of a user from anywhere, unless something newer is known. */
  offer(presence: Presence) {
    const entry = this.#entries.get(presence.userId);
    if (!entry || (entry.presence && presence.asOf < entry.presence.asOf)) return;
    entry.presence = presence;
    // The two times are the server's and their difference is not, so that the
    // clocks need not agree.
    entry.expires = presence.expiresAt ? Date.now() + Date.parse(presence.expiresAt) - Date.parse(presence.asOf) : Infinity;
    this.#changed(entry);
    this.refresh();
  }

  /**
   * Marks who has become stale, asks about them when it is time, and sets the
   * next time to look. The spread is how long the asking may be put off.
   */
  refresh(spread = requerySpread) {
    const now = Date.now();
    let next = Infinity;
    let stale = false;
    for (const entry of this.#entries.values()) {
      const was = entry.stale;
      entry.stale = !entry.live || now >= entry.expires;
      if (entry.stale !== was) this.#changed(entry);
      if (entry.stale) stale = true;
      else next = Math.min(next, entry.expires);
    }
    if (!stale) {
      this.#requeryAt = Infinity;
    } else if (!document.hidden && !this.#suspended) {
      this.#requeryAt = Math.min(this.#requeryAt, Math.max(now, this.#asked + requeryGap) + spread * Math.random());
      if (now >= this.#requeryAt) {
        this.#requeryAt = Infinity;
        // Who is about to expire goes along, or would wait for the next turn.
        for (const entry of this.#entries.values()) {
          if (entry.stale || entry.expires < now + requeryGap + requerySpread) this.#want(entry);
        }
      } else {
        next = Math.min(next, this.#requeryAt);
      }
    }
    this.#tick.set(next);
  }

  /** Ends the subscriptions for a page that goes into the back-forward cache. */
  suspend() {
    this.#suspended = true;
    for (const line of this.#lines) this.#end(line);
    for (const entry of this.#entries.values()) {
      delete entry.line;
      entry.live = false;
    }
    this.#first.clear();
    this.refresh();
  }

  /** Subscribes again, which asks again. */
  resume() {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#plan();
  }

  /** Ends every watch. */
  close() {
    for (const line of this.#lines) this.#end(line);
    this.#entries.clear();
    this.#wanted.clear();
    for (const alarm of [this.#ask, this.#tick, this.#first]) alarm.clear();
  }

  /** Subscribes to who is watched, after all changes of one turn: one list often takes the place of another. */
  #plan() {
    if (this.#planning) return;
    this.#planning = true;
    queueMicrotask(() => {
      this.#planning = false;
      for (const entry of this.#entries.values()) {
        if (entry.watches.size) continue;
        this.#entries.delete(entry.userId);
        entry.line?.userIds.delete(entry.userId);
      }
      if (this.#suspended) return;
      for (const entry of this.#entries.values()) {
        if (entry.line) continue;
        entry.line = this.#lineWithRoom();
        entry.line.userIds.add(entry.userId);
        this.#first.setBy(Date.now() + patience);
      }
      for (const line of this.#lines) this.#follow(line);
    });
  }

  #lineWithRoom(): Line {
    for (const line of this.#lines) if (line.userIds.size < MAX_WATCHED) return line;
    const line: Line = { userIds: new Set(), retry: new Alarm(this.sleep, () => this.#follow(line)), failures: 0 };
    this.#lines.add(line);
    return line;
  }

  #end(line: Line) {
    this.#lines.delete(line);
    line.retry.clear();
    line.current?.stop();
    line.next?.stop();
  }

  /** Subscribes to the users of a line, unless it is subscribed to exactly them. */
  #follow(line: Line) {
    if (!line.userIds.size) {
      this.#end(line);
      return;
    }
    const { current, next } = line;
    const latest = next ?? current;
    if (latest && same(latest.userIds, line.userIds)) return;
    // Whoever is watched already stays so, and further changes wait for the answer to this one.
    if (current && next) return;
    next?.stop();
    line.retry.clear();
    this.#subscribe(line);
  }

  #subscribe(line: Line) {
    let open = true;
    let stop = () => {};
    const subscription: Subscription = {
      userIds: new Set(line.userIds),
      accepted: false,
      stop: () => {
        open = false;
        stop();
      },
    };
    line.next = subscription;
    stop = this.client.subscribe<{ onPresence: Presence | null }>(
      ON_PRESENCE,
      { watch: { userIds: [...subscription.userIds] } },
      {
        ready: () => {
          if (open) this.#accepted(line, subscription);
        },
        next: (data) => {
          if (open && data.onPresence) this.offer(data.onPresence);
        },
        lost: () => {
          if (open) this.#lost(line, subscription);
        },
        error: (cause) => {
          if (!open) return;
          open = false;
          this.#lost(line, subscription);
          if (line.current === subscription) line.current = undefined;
          else line.next = undefined;
          this.onError(cause);
          line.retry.setBy(Date.now() + backOff(++line.failures, retryFirst, retryMost));
        },
      },
    );
    // It may have been stopped before there was anything to stop.
    if (!open) stop();
  }

  #accepted(line: Line, subscription: Subscription) {
    line.failures = 0;
    // Accepted again, it may have missed something; so may one that follows nothing.
    const again = subscription.accepted;
    subscription.accepted = true;
    if (line.next === subscription) {
      line.current?.stop();
      line.current = subscription;
      line.next = undefined;
    }
    for (const userId of subscription.userIds) {
      const entry = this.#entries.get(userId);
      if (entry && (again || !entry.live)) this.#want(entry);
    }
    this.#follow(line);
  }

  #lost(line: Line, subscription: Subscription) {
    subscription.accepted = false;
    if (line.current !== subscription) return;
    for (const userId of subscription.userIds) {
      const entry = this.#entries.get(userId);
      if (entry) entry.live = false;
    }
    this.refresh();
  }

  /** Asks about people of which nothing is known although a subscription should long have been accepted. */
  #wantUnknown() {
    for (const entry of this.#entries.values()) if (!entry.presence) this.#want(entry);
  }

  #want(entry: Entry) {
    this.#wanted.add(entry.userId);
    this.#ask.setBy(Date.now() + collect);
  }

  async #query() {
    const userIds = [...this.#wanted].filter((userId) => this.#entries.has(userId));
    this.#wanted.clear();
    if (!userIds.length) return;
    this.#asked = Date.now();
    const chunks = [];
    for (let i = 0; i < userIds.length; i += MAX_STATUSES) chunks.push(userIds.slice(i, i + MAX_STATUSES));
    await Promise.all(
      chunks.map(async (chunk) => {
        try {
          const answer = this.client.request<{ statuses: Presence[] }>(STATUSES, { userIds: chunk });
          const { statuses } = await within(answerLimit, this.sleep, answer);
          this.#failures = 0;
          for (const userId of chunk) {
            const entry = this.#entries.get(userId);
            const subscription = entry?.line?.current;
            if (entry) entry.live = Boolean(subscription?.accepted && subscription.userIds.has(userId));
          }
          for (const presence of statuses) this.offer(presence);
          this.refresh();
        } catch (cause) {
          this.onError(cause);
          for (const userId of chunk) this.#wanted.add(userId);
          this.#ask.setBy(Date.now() + backOff(++this.#failures, retryFirst, retryMost));
        }
      }),
    );
  }

  /** Tells the entry's watches, all changes of one turn together. */
  #changed(entry: Entry) {
    for (const watch of entry.watches) watch.changed = true;
    if (this.#notifying) return;
    this.#notifying = true;
    queueMicrotask(() => {
      this.#notifying = false;
      const watches = new Set([...this.#entries.values()].flatMap((entry) => [...entry.watches]));
      for (const watch of watches) {
        if (!watch.changed) continue;
        watch.changed = false;
        watch.onChange(this.#people(watch));
      }
    });
  }

  #people({ userIds }: Watch): People {
    const people = new Map<string, Person>();
    for (const userId of userIds) {
      const entry = this.#entries.get(userId);
      if (entry?.presence) people.set(userId, { ...entry.presence, stale: entry.stale });
    }
    return people;
  }
}
