package appsync_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"presence/internal/local/appsync"
)

const filterSchema = `
	type Owner { name: String tags: [String] age: Int }
	type Thing { id: ID n: Int f: Float s: String b: Boolean tags: [String] numbers: [Int] owner: Owner owners: [Owner] }
	input OwnerInput { name: String tags: [String] age: Int }
	type Query { a: Int }
	type Mutation {
		set(id: ID, n: Int, f: Float, s: String, b: Boolean, tags: [String], numbers: [Int], owner: OwnerInput, owners: [OwnerInput]): Thing
	}
	type Subscription { on(id: ID): Thing @aws_subscribe(mutations: ["set"]) }`

// filtered makes a server. Its function answers a subscription with a filter
// and a mutation with its arguments.
func filtered(filter string) appsync.Options {
	return appsync.Options{Schema: filterSchema, Invoker: invoker(func(_ context.Context, c call) (any, error) {
		if c.Field == "Subscription.on" {
			return json.RawMessage(filter), nil
		}
		return c.Arguments, nil
	})}
}

// group is a filter of one group of rules.
func group(rules ...string) string {
	return `{"filters":[` + strings.Join(rules, ",") + `]}`
}

func filterOf(groups ...string) string {
	return `{"filterGroup":[` + strings.Join(groups, ",") + `]}`
}

func one(field, operator, value string) string {
	return `{"fieldName":"` + field + `","operator":"` + operator + `","value":` + value + `}`
}

// The operators are those of "Extensions" in the AppSync developer guide.
func TestEnhancedFilters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filter, mutation string
		want             bool
	}{
		"eq":                       {filterOf(group(one("s", "eq", `"a"`))), `{set(s:"a"){s}}`, true},
		"eq-other":                 {filterOf(group(one("s", "eq", `"a"`))), `{set(s:"b"){s}}`, false},
		"eq-case":                  {filterOf(group(one("s", "eq", `"a"`))), `{set(s:"A"){s}}`, false},
		"eq-number":                {filterOf(group(one("n", "eq", `2`))), `{set(n:2){n}}`, true},
		"eq-float":                 {filterOf(group(one("f", "eq", `2`))), `{set(f:2.0){f}}`, true},
		"eq-bool":                  {filterOf(group(one("b", "eq", `false`))), `{set(b:false){b}}`, true},
		"eq-text-is-no-number":     {filterOf(group(one("n", "eq", `"2"`))), `{set(n:2){n}}`, false},
		"eq-of-a-list":             {filterOf(group(one("tags", "eq", `"a"`))), `{set(tags:["a"]){tags}}`, false},
		"eq-null":                  {filterOf(group(one("s", "eq", `"a"`))), `{set(n:1){s}}`, false},
		"eq-empty":                 {filterOf(group(one("s", "eq", `""`))), `{set(s:""){s}}`, true},
		"eq-empty-is-not-null":     {filterOf(group(one("s", "eq", `""`))), `{set(n:1){s}}`, false},
		"eq-not-selected":          {filterOf(group(one("s", "eq", `"a"`))), `{set(s:"a"){n}}`, false},
		"eq-under-an-alias":        {filterOf(group(one("s", "eq", `"a"`))), `{set(s:"a"){x:s}}`, false},
		"ne":                       {filterOf(group(one("s", "ne", `"a"`))), `{set(s:"b"){s}}`, true},
		"ne-equal":                 {filterOf(group(one("s", "ne", `"a"`))), `{set(s:"a"){s}}`, false},
		"ne-null":                  {filterOf(group(one("s", "ne", `"a"`))), `{set(n:1){s}}`, true},
		"ne-not-selected":          {filterOf(group(one("s", "ne", `"a"`))), `{set(s:"b"){n}}`, false},
		"lt":                       {filterOf(group(one("n", "lt", `2`))), `{set(n:1){n}}`, true},
		"lt-equal":                 {filterOf(group(one("n", "lt", `2`))), `{set(n:2){n}}`, false},
		"le-equal":                 {filterOf(group(one("n", "le", `2`))), `{set(n:2){n}}`, true},
		"le-greater":               {filterOf(group(one("n", "le", `2`))), `{set(n:3){n}}`, false},
		"gt-text":                  {filterOf(group(one("s", "gt", `"b"`))), `{set(s:"c"){s}}`, true},
		"gt-equal":                 {filterOf(group(one("s", "gt", `"b"`))), `{set(s:"b"){s}}`, false},
		"gt-null":                  {filterOf(group(one("n", "gt", `-1`))), `{set(s:"b"){n}}`, false},
		"ge-equal":                 {filterOf(group(one("s", "ge", `"b"`))), `{set(s:"b"){s}}`, true},
		"ge-less":                  {filterOf(group(one("s", "ge", `"b"`))), `{set(s:"a"){s}}`, false},
		"between-ends":             {filterOf(group(one("n", "between", `[1,3]`))), `{set(n:3){n}}`, true},
		"between-outside":          {filterOf(group(one("n", "between", `[1,3]`))), `{set(n:4){n}}`, false},
		"begins-with":              {filterOf(group(one("s", "beginsWith", `"ab"`))), `{set(s:"abc"){s}}`, true},
		"begins-with-not":          {filterOf(group(one("s", "beginsWith", `"b"`))), `{set(s:"abc"){s}}`, false},
		"contains-text":            {filterOf(group(one("s", "contains", `"b"`))), `{set(s:"abc"){s}}`, true},
		"contains-text-not":        {filterOf(group(one("s", "contains", `"d"`))), `{set(s:"abc"){s}}`, false},
		"contains-item":            {filterOf(group(one("tags", "contains", `"a"`))), `{set(tags:["b","a"]){tags}}`, true},
		"contains-part-of-item":    {filterOf(group(one("tags", "contains", `"a"`))), `{set(tags:["ab"]){tags}}`, false},
		"contains-number":          {filterOf(group(one("numbers", "contains", `2`))), `{set(numbers:[1,2]){numbers}}`, true},
		"not-contains":             {filterOf(group(one("tags", "notContains", `"a"`))), `{set(tags:["b"]){tags}}`, true},
		"not-contains-has":         {filterOf(group(one("tags", "notContains", `"a"`))), `{set(tags:["a"]){tags}}`, false},
		"not-contains-empty":       {filterOf(group(one("tags", "notContains", `"a"`))), `{set(tags:[]){tags}}`, true},
		"not-contains-null":        {filterOf(group(one("tags", "notContains", `"a"`))), `{set(n:1){tags}}`, true},
		"not-contains-absent":      {filterOf(group(one("tags", "notContains", `"a"`))), `{set(n:1){n}}`, false},
		"in":                       {filterOf(group(one("s", "in", `["a","b"]`))), `{set(s:"b"){s}}`, true},
		"in-not":                   {filterOf(group(one("s", "in", `["a","b"]`))), `{set(s:"c"){s}}`, false},
		"not-in":                   {filterOf(group(one("s", "notIn", `["a","b"]`))), `{set(s:"c"){s}}`, true},
		"not-in-is":                {filterOf(group(one("s", "notIn", `["a","b"]`))), `{set(s:"b"){s}}`, false},
		"contains-any":             {filterOf(group(one("tags", "containsAny", `["a","b"]`))), `{set(tags:["c","b","a"]){tags}}`, true},
		"contains-any-not":         {filterOf(group(one("tags", "containsAny", `["a","b"]`))), `{set(tags:["c"]){tags}}`, false},
		"contains-any-empty":       {filterOf(group(one("tags", "containsAny", `["a","b"]`))), `{set(tags:[]){tags}}`, false},
		"contains-any-null":        {filterOf(group(one("tags", "containsAny", `["a","b"]`))), `{set(n:1){tags}}`, false},
		"contains-any-absent":      {filterOf(group(one("tags", "containsAny", `["a","b"]`))), `{set(tags:["a"]){n}}`, false},
		"contains-any-of-no-list":  {filterOf(group(one("s", "containsAny", `["a"]`))), `{set(s:"a"){s}}`, false},
		"contains-any-null-item":   {filterOf(group(one("tags", "containsAny", `["null"]`))), `{set(tags:[null]){tags}}`, false},
		"nested":                   {filterOf(group(one("owner.name", "eq", `"a"`))), `{set(owner:{name:"a"}){owner{name}}}`, true},
		"nested-not-selected":      {filterOf(group(one("owner.name", "ne", `"a"`))), `{set(owner:{name:"b"}){owner{age}}}`, false},
		"nested-in-null":           {filterOf(group(one("owner.name", "eq", `"a"`))), `{set(n:1){owner{name}}}`, false},
		"nested-list":              {filterOf(group(one("owner.tags", "containsAny", `["a"]`))), `{set(owner:{tags:["a"]}){owner{tags}}}`, true},
		"nested-in-a-list":         {filterOf(group(one("owners.name", "contains", `"b"`))), `{set(owners:[{name:"a"},{name:"b"}]){owners{name}}}`, true},
		"nested-in-a-list-any":     {filterOf(group(one("owners.tags", "containsAny", `["y"]`))), `{set(owners:[{tags:["x"]},{tags:["y"]}]){owners{tags}}}`, true},
		"and":                      {filterOf(group(one("s", "eq", `"a"`), one("n", "gt", `1`))), `{set(s:"a",n:2){s n}}`, true},
		"and-one-fails":            {filterOf(group(one("s", "eq", `"a"`), one("n", "gt", `1`))), `{set(s:"a",n:1){s n}}`, false},
		"or":                       {filterOf(group(one("s", "eq", `"a"`)), group(one("n", "eq", `1`))), `{set(s:"b",n:1){s n}}`, true},
		"or-none":                  {filterOf(group(one("s", "eq", `"a"`)), group(one("n", "eq", `1`))), `{set(s:"b",n:2){s n}}`, false},
		"or-of-absent":             {filterOf(group(one("s", "eq", `"a"`)), group(one("n", "eq", `1`))), `{set(s:"a"){s}}`, true},
		"unknown-field":            {filterOf(group(one("nope", "ne", `1`))), `{set(s:"a"){s}}`, false},
		"arguments-do-not-count":   {filterOf(group(one("s", "eq", `"a"`))), `{set(id:"other",s:"a"){id s}}`, true},
		"longest-text":             {filterOf(group(one("s", "ne", `"`+strings.Repeat("é", 256)+`"`))), `{set(s:"a"){s}}`, true},
		"no-filter-uses-arguments": {`null`, `{set(id:"mine",s:"a"){id s}}`, true},
		"no-filter-other-argument": {`null`, `{set(id:"other",s:"a"){id s}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, filtered(c.filter))
			ws := open(t, server, "bob")
			start(t, ws, "1", "bob", `subscription { on(id: "mine") { id } }`, nil)
			expect(t, ws, `"start_ack"`)
			if got := query(t, server, "bob", "mutation"+c.mutation, nil); strings.Contains(got, "errors") {
				t.Fatal(got)
			}
			send(t, ws, `{"id":"1","type":"stop"}`)
			want := `"complete"`
			if c.want {
				want = `"data"`
			}
			expect(t, ws, want)
			if c.want { // Once, however many values match.
				expect(t, ws, `"complete"`)
			}
		})
	}
}

// A filter that AppSync would refuse is an error of the start.
func TestInvalidFilters(t *testing.T) {
	t.Parallel()
	many := func(n int, text string) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = text
		}
		return list
	}
	values := func(n int) string { return "[" + strings.Join(many(n, `"a"`), ",") + "]" }
	for name, c := range map[string]struct{ filter, says string }{
		"no-group":         {`{"filterGroup":[]}`, "1 to 10 filters, and this one 0"},
		"no-list":          {`{"filterGroup":1}`, "no filterGroup"},
		"eleven-filters":   {filterOf(many(11, group(one("s", "eq", `"a"`)))...), "1 to 10 filters, and this one 11"},
		"no-rule":          {filterOf(group()), "1 to 5 rules, and this one 0"},
		"six-rules":        {filterOf(group(many(6, one("s", "eq", `"a"`))...)), "1 to 5 rules, and this one 6"},
		"no-field":         {filterOf(group(one("", "eq", `"a"`))), "fieldName"},
		"empty-level":      {filterOf(group(one("a..b", "eq", `"a"`))), "fieldName"},
		"six-levels":       {filterOf(group(one("a.b.c.d.e.f", "eq", `"a"`))), "fieldName"},
		"long-field":       {filterOf(group(one(strings.Repeat("a", 257), "eq", `"a"`))), "fieldName"},
		"unknown-operator": {filterOf(group(one("s", "like", `"a"`))), "invalid filter value for operator like"},
		"null":             {filterOf(group(one("s", "eq", `null`))), "operator eq"},
		"eq-list":          {filterOf(group(one("s", "eq", `["a"]`))), "operator eq"},
		"lt-bool":          {filterOf(group(one("b", "lt", `true`))), "operator lt"},
		"begins-with-int":  {filterOf(group(one("n", "beginsWith", `1`))), "operator beginsWith"},
		"in-six":           {filterOf(group(one("s", "in", values(6)))), "operator in"},
		"in-none":          {filterOf(group(one("s", "in", `[]`))), "operator in"},
		"in-no-list":       {filterOf(group(one("s", "in", `"a"`))), "operator in"},
		"not-in-six":       {filterOf(group(one("s", "notIn", values(6)))), "operator notIn"},
		"any-21":           {filterOf(group(one("tags", "containsAny", values(21)))), "operator containsAny"},
		"any-none":         {filterOf(group(one("tags", "containsAny", `[]`))), "operator containsAny"},
		"any-of-null":      {filterOf(group(one("tags", "containsAny", `[null]`))), "operator containsAny"},
		"between-one":      {filterOf(group(one("n", "between", `[1]`))), "operator between"},
		"between-mixed":    {filterOf(group(one("n", "between", `[1,"2"]`))), "operator between"},
		"long-value":       {filterOf(group(one("s", "eq", `"`+strings.Repeat("é", 257)+`"`))), "operator eq"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws := open(t, newServer(t, filtered(c.filter)), "bob")
			start(t, ws, "1", "bob", `subscription { on { id } }`, nil)
			if got := expect(t, ws, `"error"`); !strings.Contains(got, c.says) {
				t.Errorf("got %s, want %q", got, c.says)
			}
			// The id is free again.
			start(t, ws, "1", "bob", `subscription { on { nope } }`, nil)
			expect(t, ws, `FieldUndefined`)
		})
	}
}
