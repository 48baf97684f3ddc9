// Package wire is AppSync's vocabulary: the names and the JSON that both sides of
// the API use. It has no behaviour.
package wire

import "encoding/json"

// Request is the HTTP request as resolvers see it. AppSync never passes
// cookies.
type Request struct {
	Headers    map[string]string `json:"headers"`
	DomainName *string           `json:"domainName"`
}

// Identity is who AppSync has authenticated. Which fields are set depends on
// the mode: Sub, Username, Issuer, Claims, Groups for Cognito user pools;
// AccountID, UserARN, Username and the cognito… fields for IAM; Sub, Issuer,
// Claims for OIDC; ResolverContext for a Lambda authorizer.
type Identity struct {
	Sub                 string          `json:"sub,omitempty"`
	Issuer              string          `json:"issuer,omitempty"`
	Username            string          `json:"username,omitempty"`
	Claims              json.RawMessage `json:"claims,omitempty"`
	Groups              []string        `json:"groups,omitempty"`
	DefaultAuthStrategy string          `json:"defaultAuthStrategy,omitempty"`
	SourceIP            []string        `json:"sourceIp,omitempty"`

	AccountID                   string `json:"accountId,omitempty"`
	UserARN                     string `json:"userArn,omitempty"`
	CognitoIdentityPoolID       string `json:"cognitoIdentityPoolId,omitempty"`
	CognitoIdentityID           string `json:"cognitoIdentityId,omitempty"`
	CognitoIdentityAuthType     string `json:"cognitoIdentityAuthType,omitempty"`
	CognitoIdentityAuthProvider string `json:"cognitoIdentityAuthProvider,omitempty"`

	// ResolverContext is what a Lambda authorizer says about its caller.
	ResolverContext map[string]string `json:"resolverContext,omitempty"`
}

// AuthMode is one of AppSync's authorization modes.
type AuthMode string

// AppSync's authorization modes. This API uses user pools and IAM.
const (
	ModeUserPools AuthMode = "AMAZON_COGNITO_USER_POOLS"
	ModeIAM       AuthMode = "AWS_IAM"
	ModeAPIKey    AuthMode = "API_KEY"
	ModeOIDC      AuthMode = "OPENID_CONNECT"
	ModeLambda    AuthMode = "AWS_LAMBDA"
)

// Mode returns the mode i was authenticated by. AppSync passes no name of it,
// but callers with an API key have no identity, only IAM callers have an ARN,
// only those a Lambda authorizer let in its context, and of those with a sub
// only user-pool callers a username.
func (i *Identity) Mode() AuthMode {
	switch {
	case i == nil:
		return ModeAPIKey
	case i.UserARN != "":
		return ModeIAM
	case i.ResolverContext != nil:
		return ModeLambda
	case i.Sub != "" && i.Username != "":
		return ModeUserPools
	case i.Sub != "":
		return ModeOIDC
	}
	return ""
}

// Error is one entry of a GraphQL response's errors.
type Error struct {
	Message   string     `json:"message"`
	ErrorType string     `json:"errorType,omitempty"`
	ErrorInfo any        `json:"errorInfo,omitempty"`
	Data      any        `json:"data,omitempty"`
	Path      []any      `json:"path,omitempty"`
	Locations []Location `json:"locations,omitempty"`
	// ErrorCode is the numeric code the SDKs read from a connection_error.
	ErrorCode int `json:"errorCode,omitempty"`
}

// Location is where in the GraphQL document an error is.
type Location struct {
	Line       int     `json:"line"`
	Column     int     `json:"column"`
	SourceName *string `json:"sourceName"`
}

// Frame is one message of the real-time protocol, in either direction.
type Frame struct {
	Type    string          `json:"type"`
	ID      string          `json:"id,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Frame types.
const (
	TypeConnectionInit  = "connection_init"
	TypeConnectionAck   = "connection_ack"
	TypeConnectionError = "connection_error"
	TypeKeepAlive       = "ka"
	TypeStart           = "start"
	TypeStartAck        = "start_ack"
	TypeData            = "data"
	TypeStop            = "stop"
	TypeComplete        = "complete"
	TypeError           = "error"
)

// ResolverCountLimit is how many resolvers one request may run: on AWS by the
// API's setting, on the laptop by the local AppSync's. Clients ask for one or two
// fields at a time.
const ResolverCountLimit = 20

// Protocol is the WebSocket subprotocol of real-time connections.
const Protocol = "graphql-ws"
