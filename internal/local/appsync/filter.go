package appsync

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"presence/internal/wire"
)

// What a filter may have: "Extensions" in the AppSync developer guide. The
// number of rules is from the lambda-appsync crate, which enforces it.
const (
	maxRules        = 5
	maxFilterString = 256 // characters
	maxLevels       = 5
	maxIn           = 5
)

// filter is what a resolver gave extensions.setSubscriptionFilter: an event
// passes if one of the groups does, and a group if all of its rules do.
type filter [][]rule

type rule struct {
	path     []string
	operator string
	// values are what the field is compared with: one but for the operators that
	// take a list. Each is a string, a float64 or a bool.
	values []any
}

// operators are the operators AppSync documents, and whether an event's value
// passes: one that is not null, and is of any type JSON has.
var operators = map[string]func(v any, values []any) bool{
	"eq":      func(v any, values []any) bool { return isScalar(v) && v == values[0] },
	"ne":      func(v any, values []any) bool { return isScalar(v) && v != values[0] },
	"lt":      func(v any, values []any) bool { c, ok := compare(v, values[0]); return ok && c < 0 },
	"le":      func(v any, values []any) bool { c, ok := compare(v, values[0]); return ok && c <= 0 },
	"gt":      func(v any, values []any) bool { c, ok := compare(v, values[0]); return ok && c > 0 },
	"ge":      func(v any, values []any) bool { c, ok := compare(v, values[0]); return ok && c >= 0 },
	"between": func(v any, values []any) bool { return between(v, values[0], values[1]) },
	"beginsWith": func(v any, values []any) bool {
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, values[0].(string))
	},
	"in":          func(v any, values []any) bool { return isScalar(v) && slices.Contains(values, v) },
	"notIn":       func(v any, values []any) bool { return isScalar(v) && !slices.Contains(values, v) },
	"contains":    func(v any, values []any) bool { has, ok := contains(v, values[0]); return ok && has },
	"notContains": func(v any, values []any) bool { has, ok := contains(v, values[0]); return ok && !has },
	"containsAny": containsAny,
}

// matches reports whether an event, the data of a mutation's answer, passes. A
// field that is absent, because the mutation did not select it, passes no rule;
// one that is null passes those that say what it must not be.
func (f filter) matches(event map[string]any) bool {
	return slices.ContainsFunc(f, func(rules []rule) bool {
		return !slices.ContainsFunc(rules, func(r rule) bool { return !r.matches(event) })
	})
}

func (r rule) matches(event map[string]any) bool {
	v, there := lookup(event, r.path)
	switch {
	case !there:
		return false
	case v == nil:
		return r.operator == "ne" || r.operator == "notIn" || r.operator == "notContains"
	}
	return operators[r.operator](v, r.values)
}

// lookup finds a nested field. Through a list it finds the list of what is
// found in its items.
func lookup(v any, path []string) (found any, there bool) {
	if len(path) == 0 {
		return v, true
	}
	switch v := v.(type) {
	case map[string]any:
		member, ok := v[path[0]]
		if !ok {
			return nil, false
		}
		return lookup(member, path[1:])
	case []any:
		var all []any
		for _, item := range v {
			found, ok := lookup(item, path)
			if list, isList := found.([]any); isList {
				all = append(all, list...)
			} else if ok {
				all = append(all, found)
			}
			there = there || ok
		}
		return all, there || len(v) == 0
	}
	return nil, v == nil // What is inside of null is null.
}

func isScalar(v any) bool {
	switch v.(type) {
	case string, float64, bool:
		return true
	}
	return false
}

// compare orders two numbers or two strings.
func compare(a, b any) (order int, ok bool) {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), true
		}
	case float64:
		if b, ok := b.(float64); ok {
			switch {
			case a < b:
				return -1, true
			case a > b:
				return 1, true
			}
			return 0, true
		}
	}
	return 0, false
}

func between(v, from, to any) bool {
	low, ok := compare(v, from)
	high, _ := compare(v, to)
	return ok && low >= 0 && high <= 0
}

// contains looks for a value in a list or for a part of a string.
func contains(v, value any) (has, ok bool) {
	switch v := v.(type) {
	case []any:
		return slices.Contains(scalars(v), value), true
	case string:
		part, ok := value.(string)
		return ok && strings.Contains(v, part), ok
	}
	return false, false
}

func containsAny(v any, values []any) bool {
	list, _ := v.([]any)
	return slices.ContainsFunc(scalars(list), func(item any) bool { return slices.Contains(values, item) })
}

// scalars returns the items of a list that can be compared.
func scalars(list []any) []any {
	return slices.DeleteFunc(slices.Clone(list), func(item any) bool { return !isScalar(item) })
}

// parseFilter reads a filter as a resolver sets it and checks what AppSync
// checks.
func parseFilter(text []byte) (filter, error) {
	var given struct {
		FilterGroup []struct {
			Filters []struct {
				FieldName string `json:"fieldName"`
				Operator  string `json:"operator"`
				Value     any    `json:"value"`
			} `json:"filters"`
		} `json:"filterGroup"`
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return nil, fmt.Errorf("it is no filterGroup: %w", err)
	}
	if n := len(given.FilterGroup); n == 0 || n > wire.MaxFilters {
		return nil, fmt.Errorf("a filterGroup has 1 to %d filters, and this one %d", wire.MaxFilters, n)
	}
	var f filter
	for _, group := range given.FilterGroup {
		if n := len(group.Filters); n == 0 || n > maxRules {
			return nil, fmt.Errorf("a filter has 1 to %d rules, and this one %d", maxRules, n)
		}
		var rules []rule
		for _, r := range group.Filters {
			if err := checkFieldName(r.FieldName); err != nil {
				return nil, err
			}
			values, ok := filterValues(r.Operator, r.Value)
			if !ok {
				// The sentence of amplify-category-api issue 2547.
				return nil, fmt.Errorf("invalid filter value for operator %s", r.Operator)
			}
			rules = append(rules, rule{strings.Split(r.FieldName, "."), r.Operator, values})
		}
		f = append(f, rules)
	}
	return f, nil
}

func checkFieldName(name string) error {
	levels := strings.Split(name, ".")
	if slices.Contains(levels, "") || len(levels) > maxLevels || utf8.RuneCountInString(name) > maxFilterString {
		return fmt.Errorf("the fieldName %q is empty, longer than %d characters, or nested deeper than %d levels", name, maxFilterString, maxLevels)
	}
	return nil
}

// filterValues returns the values of a rule, if its operator takes them.
func filterValues(operator string, value any) (values []any, ok bool) {
	least, most := 1, 1
	list := []any{value}
	switch operator {
	case "in", "notIn":
		list, _ = value.([]any)
		most = maxIn
	case "containsAny":
		list, _ = value.([]any)
		most = wire.MaxFilterValues
	case "between":
		list, _ = value.([]any)
		least, most = 2, 2
	}
	if len(list) < least || len(list) > most {
		return nil, false
	}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			ok = utf8.RuneCountInString(v) <= maxFilterString
		case float64:
			ok = operator != "beginsWith"
		case bool:
			ok = operator == "eq" || operator == "ne"
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	if operator == "between" {
		if _, ok := compare(list[0], list[1]); !ok {
			return nil, false
		}
	}
	_, known := operators[operator]
	return list, known
}
