package web_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"presence"
)

var update = flag.Bool("update", false, "write client/src/schema.ts anew from schema.graphql")

// A field that the schema gets is in the client library's type and in all its
// operations without another change: schema.ts is made from the schema.
func TestSchemaOfClient(t *testing.T) {
	t.Parallel()
	const file = "client/src/schema.ts"
	want := typeScript(t, presence.Schema)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what schema.graphql says; write it anew: go test ./web -run SchemaOfClient -update", file)
	}
}

func TestTypeScriptFollowsTheSchema(t *testing.T) {
	t.Parallel()
	schema := strings.Replace(presence.Schema, "  topics: [String!]\n", "  topics: [String!]\n  \"A new field.\"\n  rooms: [Int!]\n", 1)
	got := typeScript(t, schema)
	for _, want := range []string{"heartbeatIntervalMs rooms';", "  /** A new field. */\n  rooms: number[] | null;\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "topics:") || strings.Contains(got, "topics rooms") {
		t.Errorf("clients select topics, which they are never told:\n%s", got)
	}
}

// scalars are the types of AppSync that the schema uses, as JSON has them.
var scalars = map[string]string{
	"ID": "string", "String": "string", "Int": "number", "Float": "number", "Boolean": "boolean",
	"AWSDateTime": "string", "AWSURL": "string", "AWSTimestamp": "number",
}

// forSubscriptions is the field that only AppSync reads, to filter
// subscriptions. Answers to clients have null there, so that clients do not
// select it.
const forSubscriptions = "topics"

// typeScript returns schema.ts: the enums of a schema, its type Presence, and
// what operations select of it.
func typeScript(t *testing.T, schema string) string {
	t.Helper()
	document, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: schema})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("// Made from schema.graphql by go test ./web -run SchemaOfClient -update. Do not edit.\n")
	var selected []string
	for _, definition := range document.Definitions {
		switch {
		case definition.Kind == ast.Enum:
			var values []string
			for _, value := range definition.EnumValues {
				values = append(values, "'"+value.Name+"'")
			}
			fmt.Fprintf(&b, "\n%sexport type %s = %s;\n", comment(definition.Description, ""), definition.Name, strings.Join(values, " | "))
		case definition.Name == "Presence":
			fmt.Fprintf(&b, "\n%sexport interface Presence {\n", comment(definition.Description, ""))
			for _, field := range definition.Fields {
				if field.Name == forSubscriptions {
					continue
				}
				selected = append(selected, field.Name)
				fmt.Fprintf(&b, "%s  %s: %s;\n", comment(field.Description, "  "), field.Name, typeOf(t, document, field.Type))
			}
			b.WriteString("}\n")
		}
	}
	fmt.Fprintf(&b, "\n/** The fields of Presence that clients select: all but %s, which is null in every answer to them. */\nexport const fields = '%s';\n",
		forSubscriptions, strings.Join(selected, " "))
	return b.String()
}

// typeOf returns a type of GraphQL in TypeScript.
func typeOf(t *testing.T, document *ast.SchemaDocument, typ *ast.Type) string {
	t.Helper()
	name := typ.NamedType
	switch {
	case typ.Elem != nil:
		name = typeOf(t, document, typ.Elem)
		if !typ.Elem.NonNull {
			name = "(" + name + ")"
		}
		name += "[]"
	case scalars[name] != "":
		name = scalars[name]
	case document.Definitions.ForName(name) == nil:
		t.Fatalf("no type of TypeScript is known for %s", name)
	}
	if !typ.NonNull {
		name += " | null"
	}
	return name
}

// comment returns a description as a comment.
func comment(description, indent string) string {
	lines := strings.Split(strings.TrimSpace(description), "\n")
	if len(lines) == 1 {
		return indent + "/** " + lines[0] + " */\n"
	}
	var b strings.Builder
	b.WriteString(indent + "/**\n")
	for _, line := range lines {
		b.WriteString(indent + " * " + strings.TrimSpace(line) + "\n")
	}
	b.WriteString(indent + " */\n")
	return b.String()
}
