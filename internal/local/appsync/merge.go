package appsync

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// merge makes one of selections that say the same. The validator compares each
// pair of them, which for the thousands a request may repeat takes seconds.
func merge(set ast.SelectionSet) ast.SelectionSet {
	first := map[string]*ast.SelectionSet{}
	out := set[:0]
	for _, selection := range set {
		key, inner := mergeKey(selection)
		if inner != nil {
			if same := first[key]; same != nil {
				*same = append(*same, *inner...)
				continue
			}
			first[key] = inner
		}
		out = append(out, selection)
	}
	for _, selection := range out {
		switch s := selection.(type) {
		case *ast.Field:
			s.SelectionSet = merge(s.SelectionSet)
		case *ast.InlineFragment:
			s.SelectionSet = merge(s.SelectionSet)
		}
	}
	return out
}

// mergeKey returns what selections that can be merged have in common, and what
// is selected inside. Inside is nil for what is never merged.
func mergeKey(selection ast.Selection) (key string, inside *ast.SelectionSet) {
	switch s := selection.(type) {
	case *ast.Field:
		if len(s.Directives) > 0 {
			return "", nil
		}
		var b strings.Builder
		b.WriteString(s.Alias + ":" + s.Name)
		for _, argument := range s.Arguments {
			b.WriteString(" " + argument.Name + ":" + argument.Value.String())
		}
		// A leaf is never merged with a field that has a selection: one of the two is
		// a mistake to be told.
		if len(s.SelectionSet) > 0 {
			b.WriteByte('{')
		}
		return b.String(), &s.SelectionSet
	case *ast.InlineFragment:
		if len(s.Directives) == 0 {
			return "..." + s.TypeCondition, &s.SelectionSet
		}
	}
	return "", nil
}

// depth returns how deep a document's selections nest. Each fragment is walked
// once; one that contains itself is left to the validator.
func depth(doc *ast.QueryDocument) int {
	known := map[string]int{}
	var of func(ast.SelectionSet) int
	of = func(set ast.SelectionSet) int {
		deepest := 0
		for _, selection := range set {
			d := 0
			switch s := selection.(type) {
			case *ast.Field:
				d = 1 + of(s.SelectionSet)
			case *ast.InlineFragment:
				d = of(s.SelectionSet)
			case *ast.FragmentSpread:
				fragment := doc.Fragments.ForName(s.Name)
				if fragment == nil {
					continue
				}
				if _, walked := known[s.Name]; !walked {
					known[s.Name] = 0
					known[s.Name] = of(fragment.SelectionSet)
				}
				d = known[s.Name]
			}
			deepest = max(deepest, d)
		}
		return deepest
	}
	deepest := 0
	for _, op := range doc.Operations {
		deepest = max(deepest, of(op.SelectionSet))
	}
	return deepest
}
