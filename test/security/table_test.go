package security_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The threat table names, for each threat, tests that are there.
func TestTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, threats, _ := strings.Cut(string(text), "\n## Threats\n")
	threats, _, _ = strings.Cut(threats, "\n## Limits\n")
	named := regexp.MustCompile("`([a-z/]+): ((?:Test|Fuzz)\\w+)(?:/([\\w-]+))?`")
	rows := 0
	for line := range strings.Lines(threats) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| Threat |") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%d cells in %s", len(cells), line)
			continue
		}
		for holder := range strings.SplitSeq(cells[2], ",") {
			switch strings.TrimSpace(holder) {
			case "ours", "AppSync", "laptop":
			default:
				t.Errorf("%q holds %s", holder, cells[0])
			}
		}
		tests := named.FindAllStringSubmatch(cells[3], -1)
		if len(tests) == 0 || len(tests) != strings.Count(cells[3], "`")/2 {
			t.Errorf("no test, or one that cannot be read: %s", line)
		}
		for _, test := range tests {
			if source := sources(t, test[1]); !strings.Contains(source, "\nfunc "+test[2]+"(") || test[3] != "" && !strings.Contains(source, `"`+test[3]+`"`) {
				t.Errorf("there is no test %s", test[0])
			}
		}
	}
	if rows < 40 {
		t.Errorf("the table has %d rows", rows)
	}
}

// sources returns a package's tests, and those that it may run of a suite.
func sources(t *testing.T, folder string) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"../../" + folder + "/*_test.go", "../../internal/presencetest/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
