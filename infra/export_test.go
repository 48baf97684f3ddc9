package infra

// AccessString is the ACL of the function's Redis user.
const AccessString = accessString

// BuildFunction is the build of the deployment package.
var BuildFunction = buildFunction
