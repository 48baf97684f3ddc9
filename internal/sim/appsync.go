package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"presence"
)

// call is one GraphQL field, asked of AppSync.
type call struct {
	caller    string // "" is IAM
	field     string
	arguments json.RawMessage
	user      string // the user it is about, if only one
	tab       *tab
}

var errAPI = errors.New("AppSync answers an error")

// appsync answers a call: it asks the Lambda function, sends subscribers what an
// announcing mutation answers, and then gives the answer to the caller.
func (w *world) appsync(c call, answer func([]byte, error)) {
	name := c.field
	if c.user != "" {
		name += " " + c.user
	}
	if w.fault("AppSync error before the call", w.APIError/2) {
		w.hindered(0)
		answer(nil, errAPI)
		return
	}
	if w.Naive.HeartbeatQuery && w.fromCache(c) {
		answer([]byte("{}"), nil)
		return
	}
	inv := &invocation{name: name, user: c.user, tab: c.tab}
	inv.done = func(reply []byte, err error) {
		if err == nil {
			reply, err = unwrap(reply)
		}
		if err == nil {
			w.checkAnswer(inv, c.field, reply)
			if w.fault("AppSync error after the call", w.APIError/2) {
				w.hindered(0)
				w.taintAll(c.user)
				err = errAPI
			}
		}
		if err != nil {
			w.log(name, "%v", err)
			answer(nil, err)
			return
		}
		w.fanOut(c, reply)
		answer(reply, nil)
	}
	w.invoke(inv, c.payload())
}

// payload is what the function is invoked with, as resolvers/appsync.js makes it.
func (c call) payload() []byte {
	parent := "Mutation"
	if c.field == "statuses" {
		parent = "Query"
	}
	by := map[string]string{"mode": "user", "id": c.caller}
	if c.caller == "" {
		by = map[string]string{"mode": "iam"}
	}
	payload, err := json.Marshal(map[string]any{"field": parent + "." + c.field, "arguments": c.arguments, "caller": by})
	if err != nil {
		panic(err)
	}
	return payload
}

// fromCache reports whether AppSync answers a heartbeat, were it a query, from
// its cache.
func (w *world) fromCache(c call) bool {
	if c.field != "heartbeat" {
		return false
	}
	key := c.caller + string(c.arguments)
	if until, ok := w.cached[key]; ok && w.now < until {
		return true
	}
	w.cached[key] = w.now + time.Minute
	return false
}

// unwrap returns the data of the function's answer, or its error.
func unwrap(reply []byte) ([]byte, error) {
	var answer struct {
		Data  json.RawMessage
		Error *struct{ Type, Message string }
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s: %s", answer.Error.Type, answer.Error.Message)
	}
	return answer.Data, nil
}

// announcing are the mutations that onStatus subscribes to.
var announcing = []string{"connected", "disconnected"}

// fanOut sends subscribers what an announcing mutation answers, by its topics:
// each watcher watches all users.
func (w *world) fanOut(c call, reply []byte) {
	if !slices.Contains(announcing, c.field) && (!w.Naive.ToldByCaller || c.field != "connect") {
		return
	}
	var p presence.Presence
	if err := json.Unmarshal(reply, &p); err != nil {
		panic(err)
	}
	if !w.Naive.ToldByCaller && !slices.Contains(p.Topics, presence.UserTopic(p.UserID)) {
		return
	}
	for _, watcher := range w.watchers {
		watcher.push(p)
	}
}
