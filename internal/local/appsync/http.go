package appsync

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/wire"
)

// maxBody is how large a request may be, in bytes.
const maxBody = 1 << 20

// serveGraphQL answers POST and GET; both may carry queries and mutations.
func (s *Server) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		preflight(w, r)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(p)
			refuse(w, &requestError{http.StatusInternalServerError, internalFailure})
		}
	}()
	answer, refused := s.answer(w, r)
	if refused != nil {
		refuse(w, refused)
		return
	}
	respond(w, http.StatusOK, answer)
}

// answer takes a request from its bytes to its GraphQL response. Callers are
// authorized before anything they sent is looked at.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (response, *requestError) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		return response{}, &requestError{http.StatusMethodNotAllowed, wire.Error{ErrorType: "BadRequestException", Message: "The method must be POST or GET."}}
	}
	header := r.Header.Clone()
	header.Set("Host", r.Host)
	if len(r.TransferEncoding) > 0 { // Which net/http takes out.
		header["Transfer-Encoding"] = r.TransferEncoding
	}
	credentials := wire.Credentials{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: header}
	identity, key, err := s.preauthorize(r.Context(), credentials)
	if err != nil {
		leaveBody(w, r)
		return response{}, s.refusal(err)
	}
	q, leave := s.quotas.enter(key)
	if q == nil {
		leaveBody(w, r)
		return response{}, tooManyRequests()
	}
	defer leave()
	body, refused := s.readBody(r.Context(), w, r, q)
	if refused != nil {
		return response{}, refused
	}
	if signed(header) {
		credentials.Body = body
		if identity, err = s.authorize(r.Context(), credentials); err != nil {
			return response{}, s.refusal(err)
		}
	}
	op, invalid, refused := s.prepareFor(q, r, body)
	switch {
	case refused != nil:
		return response{}, refused
	case invalid != nil:
		return response{Errors: invalid}, nil
	case op.def.Operation == ast.Subscription:
		// In AppSync's words, which old clients search the web for: the WebSocket is
		// at RealtimePath.
		return response{}, &requestError{http.StatusBadRequest, wire.Error{ErrorType: "BadRequestException", Message: "Subscriptions over MQTT is not supported."}}
	}
	return s.execute(r.Context(), op, newCaller(hostOf(r), identity, header, q)), nil
}

// signed reports whether a request has a signature, which is over its body.
func signed(header http.Header) bool {
	return strings.HasPrefix(strings.TrimSpace(header.Get("Authorization")), "AWS4-HMAC-SHA256")
}

// preauthorize authorizes a caller as far as that needs no body, and names the
// caller whose quota the body is of. Tokens need none.
func (s *Server) preauthorize(ctx context.Context, c wire.Credentials) (identity *wire.Identity, key string, err error) {
	if signed(c.Header) {
		if s.checkSignature != nil {
			err = s.checkSignature(c)
		}
		return nil, string(wire.ModeIAM), err
	}
	identity, err = s.authorize(ctx, c)
	return identity, callerKey(identity), err
}

// prepareFor reads and prepares a request in its caller's turn.
func (s *Server) prepareFor(q *quota, r *http.Request, body []byte) (*operation, []fieldError, *requestError) {
	defer turn(q.work)()
	req, refused := readRequest(r, body)
	if refused != nil {
		return nil, nil, refused
	}
	return prepare(s.schema, s.rules, req)
}

// readRequest reads the body of a POST or the query of a GET.
func readRequest(r *http.Request, body []byte) (request, *requestError) {
	if r.Method == http.MethodPost {
		if len(body) == 0 {
			return request{}, malformed("Request body is empty.", nil)
		}
		return decodeRequest(body)
	}
	query := r.URL.Query()
	if !query.Has("query") {
		return request{}, malformed("Unable to parse GraphQL query.", "The request has no query parameter.")
	}
	text := query.Get("query")
	return request{Query: &text, OperationName: query.Get("operationName"), Variables: []byte(query.Get("variables"))}, nil
}

// refusal logs the cause of a failed authorization that is not the caller's
// fault.
func (s *Server) refusal(err error) *requestError {
	refused := refusal(err)
	if refused.status >= http.StatusInternalServerError {
		s.log.Error("authorization failed", slog.Any("error", err))
	}
	return refused
}

func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// preflight allows what a browser asks for. The answer names headers because
// "*" does not cover Authorization. Any origin may call, as with AppSync:
// credentials are only ever in headers a page must set itself.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS")
	headers := r.Header.Get("Access-Control-Request-Headers")
	if headers == "" {
		headers = "authorization, content-type, x-api-key, x-amz-date, x-amz-security-token, x-amz-user-agent"
	}
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", "172800")
	w.WriteHeader(http.StatusOK)
}

// refuse answers a request that is refused as a whole. Amplify v6 takes the
// error's name from the header.
func refuse(w http.ResponseWriter, e *requestError) {
	w.Header().Set("X-Amzn-Errortype", e.ErrorType)
	respond(w, e.status, struct {
		Errors []wire.Error `json:"errors"`
	}{[]wire.Error{e.Error}})
}

func respond(w http.ResponseWriter, status int, answer any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "x-amzn-RequestId,x-amzn-ErrorType,x-amz-user-agent,x-amzn-ErrorMessage,Date,x-amz-schema-version")
	h.Set("X-Amzn-Requestid", uuid.NewString())
	h.Set("X-Amzn-Appsync-Tokensconsumed", "1")
	w.WriteHeader(status)
	_, _ = w.Write(encode(answer)) // The client may be gone.
}
