package wire

import "net/http"

// Credentials is what a caller shows to be let in: an HTTP request, or what
// stands for one on a real-time connection. There the headers come from the
// handshake or from a start message, and a SigV4 signature is over a POST of
// "{}" to the endpoint's path + "/connect" for the handshake, and over a POST of
// the message's data to the endpoint's path for a start.
type Credentials struct {
	Method string
	// Path is the request's path, escaped as it was sent, and RawQuery its query.
	Path, RawQuery string
	// Header holds canonical names, Host among them.
	Header http.Header
	Body   []byte
}

// SignatureError is the errorType of a Signature Version 4 that is refused,
// which AWS answers with 403 and not with 401.
type SignatureError string

// The types there are.
const (
	// UnrecognizedClient: nobody has this access key ID.
	UnrecognizedClient SignatureError = "UnrecognizedClientException"
	// InvalidSignature: the signature is not the request's, or is too old.
	InvalidSignature SignatureError = "InvalidSignatureException"
	// IncompleteSignature: something the signature needs is not there.
	IncompleteSignature SignatureError = "IncompleteSignatureException"
)

// Error implements error.
func (e SignatureError) Error() string { return string(e) }
