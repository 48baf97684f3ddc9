import type { People, Person } from 'presence-client';
import { byID, element } from './dom.ts';

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });

/** "3 min ago", for a time that the server's clock gave. */
export function ago(time: string, now = Date.now()): string {
  const seconds = Math.min(0, Math.round((Date.parse(time) - now) / 1_000));
  if (seconds > -5) return 'just now';
  if (seconds > -60) return relative.format(seconds, 'second');
  if (seconds > -3_600) return relative.format(Math.round(seconds / 60), 'minute');
  if (seconds > -86_400) return relative.format(Math.round(seconds / 3_600), 'hour');
  return relative.format(Math.round(seconds / 86_400), 'day');
}

/** The page of a person: a link if it is one that is safe to follow, otherwise text. */
function pageOf({ url, title }: Person): Node | string {
  if (url === null) return '';
  const text = element('bdi', {}, title || url);
  return /^https?:\/\//i.test(url) ? element('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, text) : text;
}

function when({ status, lastSeen, stale }: Person): string {
  const seen = lastSeen ? `last seen ${ago(lastSeen)}` : 'never seen';
  return stale ? `${seen}, asking again…` : status === 'online' ? '' : seen;
}

/** PeopleList shows people, and says what changes for those who do not see it. */
export class PeopleList {
  readonly #items = new Map<string, { item: HTMLLIElement; status: HTMLElement; where: HTMLElement; when: HTMLElement; shown?: Person }>();

  constructor(
    private readonly list: HTMLElement,
    private readonly onRemove: (userId: string) => void,
  ) {
    setInterval(() => this.#tick(), 5_000);
  }

  /** Sets who is listed. */
  set(userIds: readonly string[]) {
    for (const [userId, { item }] of this.#items) {
      if (userIds.includes(userId)) continue;
      item.remove();
      this.#items.delete(userId);
    }
    for (const userId of userIds) {
      if (this.#items.has(userId)) continue;
      const status = element('span', { className: 'status' }, '…');
      const where = element('div', { className: 'where' });
      const when = element('div', { className: 'when' });
      const remove = element('button', { type: 'button', onclick: () => this.onRemove(userId) }, '×');
      remove.setAttribute('aria-label', `Stop watching ${userId}`);
      const dot = element('span', { className: 'dot' });
      dot.ariaHidden = 'true';
      const item = element(
        'li',
        {},
        dot,
        element('div', {}, element('div', { className: 'who' }, element('bdi', {}, userId), ' ', status), where, when),
        remove,
      );
      item.dataset['user'] = userId;
      this.list.append(item);
      this.#items.set(userId, { item, status, where, when });
    }
  }

  /** Shows how people are. */
  show(people: People) {
    for (const [userId, person] of people) {
      const entry = this.#items.get(userId);
      if (!entry) continue;
      const { item, status, where, when: time, shown } = entry;
      item.dataset['status'] = person.status;
      item.toggleAttribute('data-stale', person.stale);
      status.textContent = person.status;
      if (shown?.url !== person.url || shown?.title !== person.title) where.replaceChildren(pageOf(person));
      time.textContent = when(person);
      time.title = person.lastSeen ?? '';
      if (shown && (shown.status !== person.status || shown.url !== person.url)) {
        byID('news').textContent = `${userId} is ${person.status}${person.title ? ` on ${person.title}` : ''}`;
      }
      entry.shown = person;
    }
  }

  #tick() {
    for (const { when: time, shown } of this.#items.values()) if (shown) time.textContent = when(shown);
  }
}
