package appsync

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/sdl"
)

// maxOperations is how many bytes of different subscription operations there
// may be at a time: more than twenty thousand of the usual length. The limit
// is ours, and keeps the longest from filling the memory.
const maxOperations = 8 << 20

const (
	// maxCallerOperations is how many of these bytes one caller may have.
	maxCallerOperations = 512 << 10
	// maxCallerSubscriptions is how many subscriptions one caller may have on all
	// connections.
	maxCallerSubscriptions = 10_000
)

// hub knows who is subscribed to what. A mutation costs by its receivers and
// not by how many others are subscribed.
type hub struct {
	// listeners are the subscription fields by the mutations they listen to.
	listeners map[string][]string

	mu        sync.RWMutex
	audiences map[string]*audience
	// operations are what subscribers have asked for, shared by all who ask for
	// the same. size is how many bytes their keys have, and limit how many they
	// may.
	operations  map[string]*subscribed
	size, limit int
	// callers is what each caller has of them.
	callers map[string]*share
}

// share is what one caller has in a hub.
type share struct{ subscriptions, bytes int }

// audience is the subscribers of one subscription field.
type audience struct {
	// topics are those that are filtered by a choice of values: by what they
	// compare and by the value.
	topics map[selector]map[string]subscribers
	// others have filters that are tested one by one.
	others subscribers
}

type subscribers map[*subscription]struct{}

// selector is what of an event is compared with the values of topics.
type selector struct {
	// fields are the names of the fields, joined by commas. A nested field's has
	// dots.
	fields string
	// items compares each item of a list.
	items bool
}

// topic is one value of a selector, as JSON.
type topic struct {
	selector selector
	value    string
}

// subscribed is one selection that subscribers have asked for. What is rendered
// from it is the same for all of them.
type subscribed struct {
	key string
	// by is the caller whose share it is of: the first.
	by    string
	op    *operation
	field graphql.CollectedField
	// users is how many subscriptions there are.
	users int
}

// subscription is one start.
type subscription struct {
	conn *conn
	// id is the client's, as JSON.
	id string
	// stopped is set by the client's stop, or when the socket ends. It is guarded
	// by the connection's mutex.
	stopped bool

	operation *subscribed
	// topics are what the subscription is filtered by. Without any, filter is.
	topics []topic
	filter filter
	// added is whether the hub has it. It is guarded by the hub's mutex.
	added bool
}

func newHub(schema *ast.Schema) *hub {
	h := &hub{
		listeners:  map[string][]string{},
		audiences:  map[string]*audience{},
		operations: map[string]*subscribed{},
		limit:      maxOperations,
		callers:    map[string]*share{},
	}
	if schema.Subscription != nil {
		for _, field := range schema.Subscription.Fields {
			for _, mutation := range sdl.SubscribedMutations(field) {
				h.listeners[mutation] = append(h.listeners[mutation], field.Name)
			}
		}
	}
	return h
}

// byArguments returns the topic of AppSync's basic filter: the field's
// arguments equal the fields of the same name.
func byArguments(args map[string]any) (topic, error) {
	var names []string
	event := map[string]any{}
	for name, value := range args {
		names = append(names, name)
		var v any
		if err := json.Unmarshal(encode(value), &v); err != nil {
			return topic{}, err
		}
		event[name] = v
	}
	slices.Sort(names)
	s := selector{fields: strings.Join(names, ",")}
	return topic{s, s.values(event)[0]}, nil
}

// topics returns the topics of a filter if each group is one rule that compares
// a field with values. It returns nil for other filters.
func (f filter) topics() []topic {
	var list []topic
	for _, rules := range f {
		if len(rules) != 1 || rules[0].operator != "eq" && rules[0].operator != "containsAny" {
			return nil
		}
		s := selector{fields: strings.Join(rules[0].path, "."), items: rules[0].operator == "containsAny"}
		for _, value := range rules[0].values {
			if t := (topic{s, string(encode(value))}); !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	return list
}

// values returns the values of the topics that an event is in. An event
// without the field is in none.
func (s selector) values(event map[string]any) []string {
	if s.items {
		v, _ := lookup(event, strings.Split(s.fields, "."))
		list, _ := v.([]any)
		values := make([]string, len(list))
		for i, item := range list {
			values[i] = string(encode(item))
		}
		slices.Sort(values)
		return slices.Compact(values) // A subscription is told once.
	}
	var b strings.Builder
	if s.fields != "" {
		for field := range strings.SplitSeq(s.fields, ",") {
			v, there := lookup(event, strings.Split(field, "."))
			if !there {
				return nil
			}
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.Write(encode(v))
		}
	}
	return []string{b.String()}
}

// subscribe adds a subscription and acknowledges it, so that no mutation falls
// in between: none that comes after start_ack is missed, and no data comes
// before. It returns what there is too much of, or nothing.
func (h *hub) subscribe(sub *subscription) (limit string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.callers[sub.conn.by]
	if own == nil {
		own = &share{}
	}
	if shared, ok := h.operations[sub.operation.key]; ok {
		sub.operation = shared
	} else if size := len(sub.operation.key); h.size+size > h.limit || own.bytes+size > maxCallerOperations {
		return "There are too many different subscriptions."
	}
	if own.subscriptions >= maxCallerSubscriptions {
		return fmt.Sprintf("Max number of %d subscriptions of a caller reached", maxCallerSubscriptions)
	}
	if !sub.conn.acknowledge(sub) {
		return "" // Stopped in the meantime.
	}
	h.callers[sub.conn.by] = own
	own.subscriptions++
	o := sub.operation
	if o.users++; o.users == 1 {
		o.by = sub.conn.by
		own.bytes += len(o.key)
		h.size += len(o.key)
		h.operations[o.key] = o
	}
	a := h.audiences[o.field.Name]
	if a == nil {
		a = &audience{map[selector]map[string]subscribers{}, subscribers{}}
		h.audiences[o.field.Name] = a
	}
	a.add(sub)
	sub.added = true
	return ""
}

func (a *audience) add(sub *subscription) {
	if len(sub.topics) == 0 {
		a.others[sub] = struct{}{}
	}
	for _, t := range sub.topics {
		values := a.topics[t.selector]
		if values == nil {
			values = map[string]subscribers{}
			a.topics[t.selector] = values
		}
		if values[t.value] == nil {
			values[t.value] = subscribers{}
		}
		values[t.value][sub] = struct{}{}
	}
}

// unsubscribe removes a subscription and what it was the last of.
func (h *hub) unsubscribe(sub *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !sub.added {
		return
	}
	sub.added = false
	o := sub.operation
	h.callers[sub.conn.by].subscriptions--
	if o.users--; o.users == 0 {
		h.size -= len(o.key)
		h.callers[o.by].bytes -= len(o.key)
		delete(h.operations, o.key)
	}
	for _, by := range []string{sub.conn.by, o.by} {
		if own := h.callers[by]; own != nil && *own == (share{}) {
			delete(h.callers, by)
		}
	}
	h.audiences[o.field.Name].remove(sub)
}

func (a *audience) remove(sub *subscription) {
	delete(a.others, sub)
	for _, t := range sub.topics {
		values := a.topics[t.selector]
		delete(values[t.value], sub)
		if len(values[t.value]) == 0 {
			delete(values, t.value)
		}
		if len(values) == 0 {
			delete(a.topics, t.selector)
		}
	}
}

// publish tells subscribers of a mutation. They see its answer, with aliases in
// place of fields, as AppSync is reported to send it. It never waits for a
// subscriber. Answers that are no object are told to nobody: filters go by
// fields, and these have none.
func (h *hub) publish(mutation string, answer []byte) {
	if len(h.listeners[mutation]) == 0 {
		return
	}
	var event map[string]any
	if err := json.Unmarshal(answer, &event); err != nil || event == nil {
		return
	}
	for operation, receivers := range h.receivers(mutation, event) {
		payload := operation.render(event)
		for _, sub := range receivers {
			sub.conn.deliver(sub, payload)
		}
	}
}

// receivers returns the subscriptions that an event is for, by operation.
func (h *hub) receivers(mutation string, event map[string]any) map[*subscribed][]*subscription {
	h.mu.RLock()
	defer h.mu.RUnlock()
	found := map[*subscribed][]*subscription{}
	for _, field := range h.listeners[mutation] {
		if a := h.audiences[field]; a != nil {
			a.receivers(event, found)
		}
	}
	return found
}

// receivers adds each subscription once, however many of its topics match.
func (a *audience) receivers(event map[string]any, found map[*subscribed][]*subscription) {
	several := subscribers{}
	for s, topics := range a.topics {
		for _, value := range s.values(event) {
			for sub := range topics[value] {
				if len(sub.topics) > 1 {
					if _, twice := several[sub]; twice {
						continue
					}
					several[sub] = struct{}{}
				}
				found[sub.operation] = append(found[sub.operation], sub)
			}
		}
	}
	for sub := range a.others {
		if sub.filter.matches(event) {
			found[sub.operation] = append(found[sub.operation], sub)
		}
	}
}

// render makes the payload of a data message. Fields the mutation left out are
// null, or an error where null is not allowed.
func (o *subscribed) render(event map[string]any) []byte {
	c := completer{operation: o.op, unchecked: true, budget: newBudget(maxPayload), weight: 1}
	c.out = append(c.out, `{"data":{`...)
	c.out = append(c.out, encode(o.field.Alias)...)
	c.out = append(c.out, ':')
	start := len(c.out)
	if !c.value([]any{o.field.Alias}, o.op.schema.Subscription, o.field, o.field.Definition.Type, event) {
		c.out = append(c.out[:start], "null"...)
	}
	c.out = append(c.out, '}')
	if c.full || len(c.out) > maxPayload {
		return fmt.Appendf(nil, `{"data":{%s:null},"errors":[{"message":"The subscription's payload is larger than 240 KB."}]}`, encode(o.field.Alias))
	}
	if len(c.errors) > 0 {
		c.out = append(c.out, `,"errors":`...)
		c.out = append(c.out, encode(c.errors)...)
	}
	return append(c.out, '}')
}
