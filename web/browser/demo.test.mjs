import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { eventually, Server } from '../testing/server.mjs';
import { launch, options, Person } from './browser.mjs';

const timeout = 5_000;

let server;
let browser;
let people = [];

before(async () => {
  server = await Server.start({ PRESENCE_HEARTBEAT: '1s', PRESENCE_TIMEOUT: `${timeout}ms` });
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});
afterEach(async () => {
  const faults = people.flatMap((person) => person.faults.map((fault) => `${person.name}: ${fault}`));
  for (const { context } of people) await context.close();
  people = [];
  assert.deepEqual(faults, []);
});

const come = async (name, path, from = browser) => {
  const person = await Person.come(from, name, server.url, path);
  people.push(person);
  return person;
};

/** Waits until person has beaten for longer than a leave can take to show. */
const outlastTimeout = (person) => {
  const until = person.beats() + timeout / 1_000 + 2;
  return eventually(`${until} beats`, () => person.beats() >= until);
};

test('people see each other come, move, leave and return', async () => {
  const bob = await come('bob');
  await bob.sees('alice', 'offline');
  const alice = await come('alice');
  await bob.sees('alice', 'online', 'Home · Presence demo');
  await alice.sees('bob', 'online', 'Home · Presence demo');
  assert.equal(alice.page.workers().length, 1, 'the timers run in a worker');
  await alice.page.getByRole('link', { name: 'Reports' }).first().click();
  await bob.sees('alice', 'online', 'Reports · Presence demo');
  assert.equal(await bob.entry('alice').getByRole('link').getAttribute('href'), `${server.url}/demo?page=reports`);
  await alice.page.goBack();
  await bob.sees('alice', 'online', 'Home · Presence demo');
  await alice.page.getByRole('button', { name: 'Sign out' }).click();
  await bob.sees('alice', 'offline', 'just now');
  await alice.page.getByLabel('Name').fill('alice');
  await alice.page.keyboard.press('Enter');
  await bob.sees('alice', 'online');
});

test('a page that is closed is gone after its grace', async () => {
  const bob = await come('bob');
  const alice = await come('alice');
  await bob.sees('alice', 'online');
  await alice.page.close({ runBeforeUnload: true });
  await bob.sees('alice', 'offline');
});

test('a browser that is killed is gone within the timeout and two seconds, not before, and returns', async () => {
  const bob = await come('bob');
  const doomed = await chromium.launchServer(options);
  const alice = await Person.come(await chromium.connect(doomed.wsEndpoint()), 'alice', server.url);
  await bob.sees('alice', 'online');
  await eventually('a beat', () => alice.beats() > 0);
  const killed = Date.now();
  doomed.process().kill('SIGKILL');
  await bob.sees('alice', 'offline');
  const took = Date.now() - killed;
  // Its last beat was up to a beat before.
  assert.ok(took > timeout - 1_500 && took < timeout + 2_000, `${took} ms`);
  await come('alice');
  await bob.sees('alice', 'online');
});

test('reload, and a link to another page, emit no offline', async () => {
  const bob = await come('bob');
  const alice = await come('alice');
  await bob.sees('alice', 'online');
  await bob.note('alice');
  await alice.page.reload();
  await eventually('another connect', () => alice.calls.filter((call) => call.field === 'connect').length === 2);
  await alice.page.goto(`${server.url}/demo?page=settings`);
  await bob.sees('alice', 'online', 'Settings');
  await outlastTimeout(alice);
  assert.deepEqual(await bob.noted(), ['online']);
  const sessions = new Set(alice.calls.filter((call) => call.field === 'connect').map((call) => call.variables.sessionId));
  assert.equal(sessions.size, 1, 'the tab kept its session');
});

test('the back-forward cache takes the page, and gives it back present and informed', async () => {
  const bob = await come('bob');
  const alice = await come('alice');
  await alice.sees('bob', 'online', 'Home');
  await alice.page.evaluate(() => {
    addEventListener('pageshow', (event) => (window.persisted = event.persisted));
  });
  await alice.page.goto('about:blank');
  await bob.sees('alice', 'offline');
  await bob.page.getByRole('link', { name: 'Reports' }).first().click();
  const before = alice.calls.length;
  await alice.page.evaluate(() => history.back());
  await eventually('the page is back', () => alice.page.evaluate(() => window.persisted).catch(() => undefined));
  await bob.sees('alice', 'online');
  await alice.sees('bob', 'online', 'Reports');
  assert.ok(alice.calls.slice(before).some((call) => call.field === 'connect'));
});

test('a user with two tabs is there until the second is closed', async () => {
  const bob = await come('bob');
  const alice = await come('alice');
  const second = await Person.tab(alice.context, 'alice', server.url, '/demo?page=settings');
  people.push(second);
  await bob.sees('alice', 'online', 'Settings');
  await bob.note('alice');
  await second.page.close({ runBeforeUnload: true });
  await bob.sees('alice', 'online', 'Home');
  await outlastTimeout(alice);
  assert.deepEqual(await bob.noted(), ['online']);
  await alice.page.close({ runBeforeUnload: true });
  await bob.sees('alice', 'offline');
});

test('a duplicated tab is a session of its own', async () => {
  const alice = await come('alice');
  await eventually('a beat', () => alice.beats() > 0);
  const opened = alice.context.waitForEvent('page');
  // A window with an opener starts with a copy of the tab's storage.
  await alice.page.evaluate(() => void window.open(location.href));
  const duplicate = new Person(alice.context, await opened, 'duplicate', server.url);
  people.push(duplicate);
  await eventually('a call', () => duplicate.calls.some((call) => call.field === 'heartbeat'));
  assert.notEqual(duplicate.calls.at(-1).variables.sessionId, alice.calls.at(-1).variables.sessionId);
});

test('who holds heartbeats goes offline and comes back; who drops the connection catches up', async () => {
  const bob = await come('bob');
  const alice = await come('alice');
  await bob.sees('alice', 'online');
  await alice.page.getByRole('button', { name: 'Hold my heartbeats' }).click();
  await bob.sees('alice', 'offline');
  await alice.page.getByRole('button', { name: 'Hold my heartbeats' }).click();
  await bob.sees('alice', 'online');
  await bob.page.getByRole('button', { name: 'Drop my connection' }).click();
  await bob.page.waitForSelector('#people li[data-user=alice][data-stale]');
  await alice.page.getByRole('link', { name: 'Reports' }).first().click();
  await alice.sees('bob', 'offline');
  await bob.page.getByRole('button', { name: 'Drop my connection' }).click();
  await bob.sees('alice', 'online', 'Reports');
  await bob.page.waitForSelector('#people li[data-user=alice]:not([data-stale])');
  await alice.sees('bob', 'online');
});

test('titles and URLs of others are text, and only http(s) is a link', async () => {
  const title = `<img src=x onerror="document.title='pwned'"><b>bold</b>`;
  const alice = await come('alice');
  // The server refuses such a URL, so an answer is changed on its way.
  await alice.page.route('**/graphql', async (route) => {
    const response = await route.fetch();
    const text = await response.text();
    await route.fulfill({ response, body: text.replaceAll(`${server.url}/evil`, "javascript:document.title='pwned'") });
  });
  const connect = 'mutation ($url: String!, $title: String!) { connect(url: $url, title: $title) { userId } }';
  for (const [user, path] of [
    ['mallory', '/good'],
    ['eve', '/evil'],
  ]) {
    const { errors } = await server.call(user, connect, { url: server.url + path, title });
    assert.equal(errors, undefined);
    await alice.page.getByLabel('Watch', { exact: true }).fill(user);
    await alice.page.keyboard.press('Enter');
    await alice.sees(user, 'online', title);
  }
  const link = alice.entry('mallory').getByRole('link');
  assert.equal(await link.getAttribute('href'), `${server.url}/good`);
  assert.equal(await link.textContent(), title);
  assert.match(await link.getAttribute('rel'), /noopener/);
  assert.equal(await alice.entry('eve').locator('a').count(), 0);
  assert.equal(await alice.page.locator('#people img, #people b, #wire img, #wire b').count(), 0);
  assert.equal(await alice.page.title(), 'Home · Presence demo');
  const { errors } = await server.call('eve', connect, { url: 'javascript:alert(1)', title });
  assert.equal(errors[0].errorType, 'InvalidArgument');
});

test('everything has a name for those who do not see it, and fits a phone', async () => {
  const alice = await come('alice');
  await alice.sees('bob', 'offline');
  const nameless = await alice.page.evaluate(() =>
    [...document.querySelectorAll('button, input, a')]
      .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))
      .map((e) => e.outerHTML),
  );
  assert.deepEqual(nameless, []);
  await alice.page.setViewportSize({ width: 360, height: 640 });
  assert.ok(await alice.page.evaluate(() => document.documentElement.scrollWidth <= 360));
});
