import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSleeper } from '../src/time.ts';

class FakeWorker {
  static all: FakeWorker[] = [];
  onmessage?: (event: { data: number }) => void;
  onerror?: () => void;
  posted: [number, number][] = [];
  terminated = false;
  constructor(readonly url: string) {
    FakeWorker.all.push(this);
  }
  postMessage(message: [number, number]) {
    this.posted.push(message);
  }
  terminate() {
    this.terminated = true;
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeWorker.all = [];
  vi.stubGlobal('Worker', FakeWorker);
  URL.createObjectURL = () => 'blob:timer';
  URL.revokeObjectURL = () => {};
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test('timers run in the worker, and not in the page', () => {
  const sleeper = createSleeper();
  const fn = vi.fn();
  sleeper.sleep(1_000, fn);
  const worker = FakeWorker.all[0]!;
  expect(worker.posted).toEqual([[1, 1_000]]);
  vi.advanceTimersByTime(10_000);
  expect(fn).not.toHaveBeenCalled();
  worker.onmessage!({ data: 1 });
  worker.onmessage!({ data: 1 });
  expect(fn).toHaveBeenCalledTimes(1);
  sleeper.close();
  expect(worker.terminated).toBe(true);
});

test('a worker that a policy stops hands its timers to the page', () => {
  const sleeper = createSleeper();
  const fn = vi.fn();
  sleeper.sleep(1_000, fn);
  vi.advanceTimersByTime(400);
  FakeWorker.all[0]!.onerror!();
  vi.advanceTimersByTime(599);
  expect(fn).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(fn).toHaveBeenCalledTimes(1);
  sleeper.sleep(50, fn);
  vi.advanceTimersByTime(50);
  expect(fn).toHaveBeenCalledTimes(2);
});

test('where a worker cannot be made the page has the timers', () => {
  vi.stubGlobal('Worker', function () {
    throw new DOMException('policy', 'SecurityError');
  });
  const sleeper = createSleeper();
  const fn = vi.fn();
  sleeper.sleep(50, fn);
  vi.advanceTimersByTime(50);
  expect(fn).toHaveBeenCalledTimes(1);
});

test('nothing runs after close', () => {
  const sleeper = createSleeper();
  const fn = vi.fn();
  sleeper.sleep(50, fn);
  const worker = FakeWorker.all[0]!;
  sleeper.close();
  worker.onmessage!({ data: 1 });
  vi.advanceTimersByTime(1_000);
  expect(fn).not.toHaveBeenCalled();
});
