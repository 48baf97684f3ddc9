package resolvers

import _ "embed"

// JS is the APPSYNC_JS code of every field's resolver. The CDK stack deploys it
// and the local AppSync runs it. The function itself does not use it.
//
//go:embed appsync.js
var JS string
