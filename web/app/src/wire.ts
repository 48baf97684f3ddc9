import type { WireEvent } from 'presence-client';
import { byID, element } from './dom.ts';

const most = 200;

/** What a message is about, in a line. */
function summary(message: unknown): string {
  const presence = findPresence(message);
  if (presence) return [presence.userId, presence.status, presence.title].filter(Boolean).join(' · ');
  const { errors, payload, userIds, title, data } = (message ?? {}) as {
    errors?: { message: string }[];
    payload?: { data?: string };
    userIds?: string[];
    title?: string;
    data?: { statuses?: Seen[] } | null;
  };
  if (errors?.[0]) return errors[0].message;
  if (typeof payload?.data === 'string') {
    const { variables } = JSON.parse(payload.data) as { variables: { watch: { userIds: string[] } } };
    return variables.watch.userIds.join(', ');
  }
  return userIds?.join(', ') ?? data?.statuses?.map(({ userId, status }) => `${userId} ${status}`).join(', ') ?? title ?? '';
}

interface Seen {
  userId: string;
  status: string;
  title: string | null;
  asOf: string;
}

function findPresence(value: unknown): Seen | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  if ('userId' in value && 'status' in value) return value as unknown as Seen;
  for (const inner of Object.values(value)) {
    const found = findPresence(inner);
    if (found) return found;
  }
  return undefined;
}

/** What may be shown of a message: all but the token. */
const redact = (key: string, value: unknown) => (key.toLowerCase() === 'authorization' ? '(token)' : value);

/** Adds a message to the list, newest first. */
export function logWire({ over, direction, name, message, ms }: WireEvent) {
  const list = byID('wire');
  const now = new Date();
  const pushed = over === 'socket' && direction === 'in' ? findPresence(message) : undefined;
  const took =
    ms !== undefined
      ? `${ms.toFixed(0)} ms`
      : pushed?.asOf
        ? `${Math.max(0, now.getTime() - Date.parse(pushed.asOf))} ms after it was true`
        : '';
  const arrow = element('span', {}, direction === 'out' ? '→' : '←');
  arrow.ariaLabel = direction === 'out' ? 'sent' : 'received';
  const item = element(
    'li',
    {},
    element(
      'details',
      {},
      element(
        'summary',
        {},
        element('time', { dateTime: now.toISOString() }, now.toISOString().slice(11, 23)),
        arrow,
        element('span', {}, `${over} ${name} `, element('bdi', {}, summary(message))),
        element('span', { className: 'took' }, took),
      ),
      element('pre', {}, JSON.stringify(message, redact, 2)),
    ),
  );
  item.dataset['name'] = name;
  item.dataset['direction'] = direction;
  list.prepend(item);
  if (list.children.length > most) list.lastElementChild!.remove();
}
