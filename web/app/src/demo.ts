import { createPresence, type Presence } from 'presence-client';
import { byID, element } from './dom.ts';
import { Network } from './network.ts';
import { PeopleList } from './people.ts';
import { endpoint, signIn } from './signin.ts';
import { logWire } from './wire.ts';

const userKey = 'demo-user';
const peopleKey = 'demo-people';
const pages = { home: 'Home', reports: 'Reports', settings: 'Settings' };

const network = new Network();
let presence: Presence | undefined;
let unwatch = () => {};
let people: string[] = [];
const list = new PeopleList(byID('people'), (userId) => watch(people.filter((other) => other !== userId)));

function watch(userIds: string[]) {
  people = userIds;
  localStorage.setItem(peopleKey, JSON.stringify(people));
  list.set(people);
  unwatch();
  unwatch = presence!.watch(people, (people) => list.show(people));
}

function problem(cause: unknown) {
  byID('problem').textContent = cause instanceof Error ? cause.message : String(cause);
}

/** Shows the page that the URL names. */
function showPage() {
  const page = new URLSearchParams(location.search).get('page') ?? 'home';
  document.title = `${pages[page as keyof typeof pages] ?? page} · Presence demo`;
  byID('pages').replaceChildren(
    ...Object.entries(pages).map(([name, title]) => {
      const link = element('a', { href: `/demo?page=${name}` }, title);
      if (name === page) link.ariaCurrent = 'page';
      link.onclick = (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        history.pushState(null, '', link.href);
        showPage();
        byID('pages').querySelector<HTMLElement>('[aria-current]')?.focus();
      };
      return element('li', {}, link);
    }),
  );
  byID<HTMLAnchorElement>('load').href = location.href;
}

async function start(user: string) {
  byID('problem').textContent = '';
  const { client, token } = signIn(user, { onWire: logWire, fetch: network.fetch, WebSocket: network.WebSocket });
  try {
    await token();
  } catch (cause) {
    problem(cause);
    return;
  }
  sessionStorage.setItem(userKey, user);
  byID('sign-in').hidden = true;
  byID('signed-in').hidden = false;
  byID('you').textContent = user;
  byID<HTMLAnchorElement>('second').href = `/demo#${encodeURIComponent(user === 'bob' ? 'alice' : 'bob')}`;
  presence = createPresence({
    client,
    endpoint,
    token,
    onError: (cause) => {
      if (!network.down && !network.held) problem(cause);
    },
  });
  const kept = JSON.parse(localStorage.getItem(peopleKey) ?? '["alice","bob","carol"]') as string[];
  watch([...new Set([user, ...kept])]);
}

function toggle(id: string, on: boolean, text: string) {
  byID(id).ariaPressed = String(on);
  byID('trouble').textContent = on ? text : '';
}

byID('sign-in').onsubmit = (event) => {
  event.preventDefault();
  void start(byID<HTMLInputElement>('name').value.trim());
};
byID('add').onsubmit = (event) => {
  event.preventDefault();
  const input = byID<HTMLInputElement>('add-name');
  watch([...new Set([...people, input.value.trim()])]);
  input.value = '';
};
byID('hold').onclick = () => {
  network.held = !network.held;
  toggle(
    'hold',
    network.held,
    'Nothing tells the server that you are here: after the timeout others see you offline. Release it, and your next heartbeat brings you back.',
  );
};
byID('drop').onclick = () => {
  network.down = !network.down;
  toggle(
    'drop',
    network.down,
    'You neither send nor hear. Others see you offline after the timeout; what you see here is marked as old. On return the page asks for what it missed.',
  );
  if (!network.down) dispatchEvent(new Event('online'));
};
byID('leave').onclick = async () => {
  sessionStorage.removeItem(userKey);
  unwatch();
  try {
    await presence?.leave();
  } catch {
    // The timeout tells the others.
  }
  location.assign('/demo');
};
byID('clear').onclick = () => byID('wire').replaceChildren();
addEventListener('popstate', showPage);

showPage();
// A fragment is not part of the page that others see, so a name may be there.
const user = decodeURIComponent(location.hash.slice(1)) || sessionStorage.getItem(userKey);
if (user) {
  history.replaceState(null, '', location.pathname + location.search);
  void start(user);
} else {
  byID('sign-in').hidden = false;
  byID('name').focus();
}
