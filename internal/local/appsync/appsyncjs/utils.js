// The module @aws-appsync/utils: names for globals every resolver has.
const a = util;
const b = extensions;
const c = runtime;
export { a as util, b as extensions, c as runtime };
