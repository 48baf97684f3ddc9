package wire

import "slices"

// What a subscription filter may have at most: "Extensions" in the AppSync
// developer guide.
const (
	MaxFilters      = 10 // in a group
	MaxFilterValues = 20 // for containsAny
)

// SubscriptionFilter is what a resolver hands to
// extensions.setSubscriptionFilter. An event passes if one filter of the group
// does.
type SubscriptionFilter struct {
	FilterGroup []FilterRules `json:"filterGroup"`
}

// FilterRules is one filter of a group. An event passes it if all rules do.
type FilterRules struct {
	Filters []FilterRule `json:"filters"`
}

// FilterRule compares one field of the event. Nested fields are joined by dots.
type FilterRule struct {
	FieldName string `json:"fieldName"`
	Operator  string `json:"operator"`
	Value     any    `json:"value"`
}

// ContainsAny returns a filter that passes events if a list field has one of the
// values. AppSync takes at most [MaxFilters] times [MaxFilterValues] of them.
func ContainsAny(field string, values []string) SubscriptionFilter {
	var f SubscriptionFilter
	for some := range slices.Chunk(values, MaxFilterValues) {
		f.FilterGroup = append(f.FilterGroup, FilterRules{[]FilterRule{{field, "containsAny", some}}})
	}
	return f
}
