package appsync

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"presence/internal/wire"
)

// maxTopics is how many bytes of different subscription operations there may
// be at a time: more than a hundred thousand of the usual length. The limit is ours,
// and keeps the longest from filling the memory.
const maxTopics = 32 << 20

// hub knows who is subscribed to what.
//
// Subscriptions are kept by field and by the values of their arguments, so a
// mutation costs by its receivers and not by how many are subscribed. Those
// that sent the very same operation share a topic, whose payload is rendered
// once for all of them.
type hub struct {
	schema *ast.Schema
	// listeners are the subscription fields by the mutations they listen to.
	listeners map[string][]*ast.FieldDefinition

	mu     sync.RWMutex
	topics map[string]*topic
	// size is how many bytes the keys of topics have, and limit how many they may.
	size, limit int
	// shapes are, for each subscription field, the sets of arguments in use:
	// subscribers may leave any of them out.
	shapes map[string]map[string]*shape
}

// shape is a set of argument names and the topics that filter by just those.
type shape struct {
	names  []string
	topics map[string][]*topic
}

// topic is one subscription operation with its variables. What is rendered
// from it is the same for all its subscribers.
type topic struct {
	key   string
	op    *operation
	field graphql.CollectedField
	// names and values are its filter.
	names       []string
	values      string
	subscribers map[*subscription]struct{}
}

// subscription is one accepted start.
type subscription struct {
	conn *conn
	// id is the client's, as JSON.
	id    string
	topic *topic
}

func newHub(schema *ast.Schema) *hub {
	h := &hub{
		schema:    schema,
		listeners: map[string][]*ast.FieldDefinition{},
		topics:    map[string]*topic{},
		limit:     maxTopics,
		shapes:    map[string]map[string]*shape{},
	}
	if schema.Subscription != nil {
		for _, field := range schema.Subscription.Fields {
			for _, mutation := range subscribedMutations(field) {
				h.listeners[mutation] = append(h.listeners[mutation], field)
			}
		}
	}
	return h
}

// newTopic makes a topic of a subscription's only field and its arguments. An
// argument that is absent filters nothing; one that is null asks for null.
func (h *hub) newTopic(key string, op *operation, field graphql.CollectedField, args map[string]any) *topic {
	t := &topic{key: key, op: op, field: field, subscribers: map[*subscription]struct{}{}}
	for name := range args {
		t.names = append(t.names, name)
	}
	slices.Sort(t.names)
	t.values, _ = h.filter(field.Definition, t.names, args)
	return t
}

// filter writes the values of the named members of an object so that equal
// ones are the same string. It reports false if one is absent: a field the
// mutation did not select matches no filter, not even null.
func (h *hub) filter(field *ast.FieldDefinition, names []string, object map[string]any) (string, bool) {
	result := h.schema.Types[field.Type.Name()]
	var b strings.Builder
	for _, name := range names {
		v, ok := object[name]
		if !ok {
			return "", false
		}
		if raw, isRaw := v.(json.RawMessage); isRaw {
			b.Write(raw)
		} else if member := result.Fields.ForName(name); v != nil && member != nil && h.schema.Types[member.Type.Name()].IsLeafType() && member.Type.Elem == nil {
			text, _ := leaf(h.schema.Types[member.Type.Name()], v)
			b.Write(text)
		} else {
			b.Write(encode(v))
		}
		b.WriteByte('\n')
	}
	return b.String(), true
}

// subscribe adds a subscription to its topic, or to an equal one that is
// there. It also acknowledges it, so that no mutation falls in between: none
// that comes after start_ack is missed, and no data comes before. It returns
// false if there are too many different operations.
func (h *hub) subscribe(sub *subscription) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.topics[sub.topic.key]; ok {
		sub.topic = t
	} else {
		t := sub.topic
		if h.size+len(t.key) > h.limit {
			return false
		}
		h.size += len(t.key)
		h.topics[t.key] = t
		byNames := h.shapes[t.field.Name]
		if byNames == nil {
			byNames = map[string]*shape{}
			h.shapes[t.field.Name] = byNames
		}
		names := strings.Join(t.names, ",")
		if byNames[names] == nil {
			byNames[names] = &shape{names: t.names, topics: map[string][]*topic{}}
		}
		byNames[names].topics[t.values] = append(byNames[names].topics[t.values], t)
	}
	sub.topic.subscribers[sub] = struct{}{}
	sub.conn.send(message{kind: wire.TypeStartAck, id: sub.id})
	return true
}

// lookup returns the topic of an operation that others have subscribed to.
func (h *hub) lookup(key string) *topic {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[key]
}

// unsubscribe removes a subscription and what it was the last of.
func (h *hub) unsubscribe(sub *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := sub.topic
	delete(t.subscribers, sub)
	if len(t.subscribers) > 0 {
		return
	}
	delete(h.topics, t.key)
	h.size -= len(t.key)
	names := strings.Join(t.names, ",")
	byNames := h.shapes[t.field.Name]
	shape := byNames[names]
	shape.topics[t.values] = slices.DeleteFunc(shape.topics[t.values], func(other *topic) bool { return other == t })
	if len(shape.topics[t.values]) == 0 {
		delete(shape.topics, t.values)
	}
	if len(shape.topics) == 0 {
		delete(byNames, names)
	}
}

// publish tells the subscribers of a mutation what it selected of its result.
// It never waits for one of them. Lists and null are told to nobody: AppSync
// filters by the result's fields, and these have none.
func (h *hub) publish(mutation string, result any) {
	object, ok := result.(map[string]any)
	if !ok {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, field := range h.listeners[mutation] {
		for _, shape := range h.shapes[field.Name] {
			values, ok := h.filter(field, shape.names, object)
			if !ok {
				continue
			}
			for _, t := range shape.topics[values] {
				payload := t.render(object)
				for sub := range t.subscribers {
					sub.conn.send(message{kind: wire.TypeData, id: sub.id, payload: payload})
				}
			}
		}
	}
}

// render makes the payload of a data message. Fields the mutation left out are
// null, or an error where null is not allowed.
func (t *topic) render(object map[string]any) []byte {
	c := completer{operation: t.op, unchecked: true}
	c.out = append(c.out, `{"data":{`...)
	c.out = append(c.out, encode(t.field.Alias)...)
	c.out = append(c.out, ':')
	start := len(c.out)
	if !c.value([]any{t.field.Alias}, t.op.schema.Subscription, t.field, t.field.Definition.Type, object) {
		c.out = append(c.out[:start], "null"...)
	}
	c.out = append(c.out, '}')
	if len(c.errors) > 0 {
		c.out = append(c.out, `,"errors":`...)
		c.out = append(c.out, encode(c.errors)...)
	}
	return append(c.out, '}')
}
