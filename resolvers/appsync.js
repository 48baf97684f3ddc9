// The resolver of every Query, Mutation and Subscription field, in AppSync's
// APPSYNC_JS. The local AppSync runs this very file.
//
// It only passes on: the function behind it decides. So there is one place for
// each rule, and it is in Go.
import { extensions, util } from '@aws-appsync/utils';

// request sends the function what it uses of a call, and nothing else: no
// headers, no token, no claims.
export function request(ctx) {
  return {
    operation: 'Invoke',
    payload: {
      field: `${ctx.info.parentTypeName}.${ctx.info.fieldName}`,
      arguments: ctx.arguments,
      caller: callerOf(ctx.identity),
    },
  };
}

// response passes on the function's {data}, or raises its {error}. This is the
// documented way to give an error a type: of an invocation that fails, AppSync
// only promises to pass on the message.
export function response(ctx) {
  if (ctx.error || !ctx.result) {
    return util.error('The presence API cannot answer right now. Try again in a moment.', 'Unavailable');
  }
  const { data, error } = ctx.result;
  if (error) {
    return util.error(error.message, error.type);
  }
  if (ctx.info.parentTypeName !== 'Subscription') {
    return data;
  }
  // Without a filter a subscriber would receive everybody's changes.
  if (!data || !data.filterGroup || data.filterGroup.length === 0) {
    return util.error('The presence API answered this subscription without a filter.', 'Internal');
  }
  extensions.setSubscriptionFilter(data);
  return null;
}

// callerOf says who is calling: AppSync has no name for the mode, but each mode
// has properties that no other has.
function callerOf(identity) {
  if (!identity) {
    return { mode: 'apiKey' };
  }
  if (identity.userArn) {
    // With an identity-pool id this is somebody's browser, not a back end.
    return { mode: identity.cognitoIdentityId ? 'identityPool' : 'iam' };
  }
  if (identity.sub && identity.username) {
    return { mode: 'user', id: identity.sub };
  }
  return { mode: 'other' };
}
