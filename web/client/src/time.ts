/** Runs fn after ms, and calls it once. */
export type Sleep = (ms: number, fn: () => void) => void;

export interface Sleeper {
  sleep: Sleep;
  close(): void;
}

const source = 'onmessage = ({ data: [id, ms] }) => setTimeout(() => postMessage(id), ms)';

/**
 * createSleeper makes timers that run in a worker: browsers hold those of a
 * hidden page back to one a minute, which is too slow to be seen by. Where a
 * worker cannot start (a Content-Security-Policy without `worker-src blob:`)
 * the timers are the page's own.
 */
export function createSleeper(): Sleeper {
  const pending = new Map<number, { at: number; fn: () => void }>();
  let last = 0;
  let worker: Worker | undefined;
  let url = '';

  const fire = (id: number) => {
    const timer = pending.get(id);
    pending.delete(id);
    timer?.fn();
  };
  const arm = (id: number, ms: number) => {
    if (worker) worker.postMessage([id, ms]);
    else setTimeout(fire, ms, id);
  };
  const close = () => {
    worker?.terminate();
    worker = undefined;
    if (url) URL.revokeObjectURL(url);
    url = '';
  };
  const withoutWorker = () => {
    close();
    for (const [id, { at }] of pending) arm(id, Math.max(0, at - Date.now()));
  };

  try {
    url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    worker = new Worker(url);
    worker.onmessage = (event: MessageEvent<number>) => fire(event.data);
    worker.onerror = withoutWorker;
  } catch {
    withoutWorker();
  }

  return {
    sleep(ms, fn) {
      const id = ++last;
      pending.set(id, { at: Date.now() + ms, fn });
      arm(id, ms);
    },
    close() {
      pending.clear();
      close();
    },
  };
}

// A timer does not count the time a machine sleeps, so a long one would go off
// late by that much. Looking at the clock this often notices within as long.
const slice = 5_000;

/** Alarm runs a function at a time of the wall clock, at most one time ahead. */
export class Alarm {
  /** When it goes off; Infinity when it is not set. */
  at = Infinity;
  #set = 0;

  constructor(
    private readonly sleep: Sleep,
    private readonly run: () => void,
  ) {}

  set(at: number) {
    this.at = at;
    this.#arm(++this.#set);
  }

  /** Sets the alarm unless it goes off earlier already. */
  setBy(at: number) {
    if (at < this.at) this.set(at);
  }

  clear() {
    this.set(Infinity);
  }

  /** Goes off if it is time, for events that come before the timer does. */
  check() {
    if (Date.now() < this.at) return;
    this.clear();
    this.run();
  }

  #arm(set: number) {
    if (this.at === Infinity) return;
    this.sleep(Math.min(slice, Math.max(0, this.at - Date.now())), () => {
      if (set !== this.#set) return;
      this.check();
      if (set === this.#set) this.#arm(set);
    });
  }
}

/** The wait before another try after so many failures: doubling, and no two clients the same. */
export const backOff = (failures: number, first: number, most: number) =>
  Math.min(most, first * 2 ** (failures - 1)) * (0.5 + 0.5 * Math.random());

/** Settles like promise, or rejects after ms. */
export function within<T>(ms: number, sleep: Sleep, promise: Promise<T>): Promise<T> {
  return Promise.race([
    promise,
    new Promise<never>((_, reject) => sleep(ms, () => reject(new Error(`No answer within ${Math.round(ms / 1000)} s.`)))),
  ]);
}
