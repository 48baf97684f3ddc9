package eventbridge

import (
	"encoding/json"
	"fmt"
	"strings"
)

// input is what r's target gets of an event, see "Amazon EventBridge input
// transformation" in the user guide. A placeholder outside of quotes becomes the
// JSON of its value, inside of quotes the text of it. Where EventBridge would
// leave a gap, because a path leads nowhere, the event is given up instead:
// what the gap makes of the input is not documented.
func (r *Rule) input(event []byte) ([]byte, error) {
	if r.InputTemplate == "" {
		return event, nil
	}
	var out strings.Builder
	quoted := false
	for i := 0; i < len(r.InputTemplate); i++ {
		c := r.InputTemplate[i]
		switch {
		case c == '\\' && quoted && i+1 < len(r.InputTemplate):
			out.WriteString(r.InputTemplate[i : i+2])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case c == '<':
			name, _, closed := strings.Cut(r.InputTemplate[i+1:], ">")
			path, known := r.InputPaths[name]
			if !closed || !known {
				break
			}
			value, err := lookup(event, path)
			if err != nil {
				return nil, err
			}
			out.WriteString(render(value, quoted))
			i += len(name) + 1
			continue
		}
		out.WriteByte(c)
	}
	return []byte(out.String()), nil
}

// lookup returns the JSON that path, like $.detail.userId, leads to.
func lookup(event json.RawMessage, path string) (json.RawMessage, error) {
	names := strings.Split(path, ".")
	if names[0] != "$" {
		return nil, fmt.Errorf("the path %s does not begin with $", path)
	}
	for _, name := range names[1:] {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(event, &object); err != nil || object[name] == nil {
			return nil, fmt.Errorf("the path %s leads nowhere in the event", path)
		}
		event = object[name]
	}
	return event, nil
}

func render(value json.RawMessage, quoted bool) string {
	if !quoted {
		return string(value)
	}
	if value[0] == '"' {
		return string(value[1 : len(value)-1])
	}
	text, _ := json.Marshal(string(value))
	return string(text[1 : len(text)-1])
}
