// setup runs in every runtime before the resolver's code. It takes away what
// APPSYNC_JS does not have, adds the globals it has, and returns the function
// that calls a handler.
//
// The names of the globals are those of "Supported runtime features" in the
// AppSync developer guide. host is Go's side.
(function (host) {
  'use strict';
  const { stringify } = JSON;
  const { defineProperty, freeze, keys } = Object;
  const env = freeze(host.env);
  const globals = globalThis;
  const { Proxy, TypeError } = globals;

  const names = [
    'Array', 'Boolean', 'Infinity', 'JSON', 'Math', 'NaN', 'Number', 'Object', 'String',
    'isFinite', 'isNaN', 'parseFloat', 'parseInt', 'undefined',
  ];
  for (const name of Object.getOwnPropertyNames(globals)) {
    if (!names.includes(name)) {
      delete globals[name];
    }
  }
  // Without these, (() => {}).constructor('…') would be an eval.
  for (const f of [() => {}, async () => {}, function* () {}]) {
    delete Object.getPrototypeOf(f).constructor;
  }

  // library makes an object. A member that it does not have fails with a
  // sentence.
  const library = (name, members) =>
    new Proxy(freeze(members), {
      get(target, key) {
        if (typeof key === 'string' && !(key in target)) {
          throw new TypeError(`The local AppSync does not have ${name}.${key}.`);
        }
        return target[key];
      },
    });
  const json = (value) => (value === undefined ? 'null' : stringify(value));
  const time = library('util.time', { nowISO8601: () => host.now() });
  globals.util = library('util', {
    autoId: () => host.autoId(),
    error: (message, type, data, info) => host.raise(String(message), type, json(data), json(info)),
    appendError: (message, type, data, info) => host.append(String(message), type, json(data), json(info)),
    unauthorized: () => host.unauthorized(),
    time,
  });
  globals.extensions = library('extensions', { setSubscriptionFilter: (filter) => host.setFilter(json(filter)) });
  globals.runtime = library('runtime', {});
  globals.console = library('console', {
    log: (...values) => host.log('info', stringify(values)),
    error: (...values) => host.log('error', stringify(values)),
  });

  // part describes a property that is made when it is read.
  const part = (key, enumerable) => ({
    enumerable,
    configurable: true,
    get() {
      const value = host.read(key);
      defineProperty(this, key, { value, enumerable, writable: true, configurable: true });
      return value;
    },
  });
  const request = part('request', true);
  const variables = part('variables', true);
  // JSON.stringify(ctx.info) leaves these out, as AppSync documents.
  const selectionSetList = part('selectionSetList', false);
  const selectionSetGraphQL = part('selectionSetGraphQL', false);

  const contextOf = (fieldName, parentTypeName, args, identity, stash) => {
    const info = { fieldName, parentTypeName };
    defineProperty(info, 'variables', variables);
    defineProperty(info, 'selectionSetList', selectionSetList);
    defineProperty(info, 'selectionSetGraphQL', selectionSetGraphQL);
    const ctx = { arguments: args, args, identity, source: null, stash, env, prev: null, info };
    return defineProperty(ctx, 'request', request);
  };

  const call = (handler, ctx) => {
    const answer = handler(ctx);
    if (keys(ctx.stash).length > 0) {
      host.keep(stringify(ctx.stash));
    }
    return answer;
  };

  return {
    json,
    // request returns the payload of the invocation.
    request(handler, field, type, args, identity, stash) {
      const answer = call(handler, contextOf(field, type, args, identity, stash));
      if (!answer || answer.operation !== 'Invoke') {
        throw new TypeError("request must return an object with the operation 'Invoke'.");
      }
      return answer.payload;
    },
    // response returns the field's value.
    response(handler, field, type, args, identity, stash, result, error) {
      const ctx = contextOf(field, type, args, identity, stash);
      ctx.result = result;
      if (error) {
        ctx.error = error;
      }
      return call(handler, ctx);
    },
  };
});
