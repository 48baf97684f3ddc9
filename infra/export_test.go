package infra

// AccessString is the ACL of the function's Redis user.
const AccessString = accessString
