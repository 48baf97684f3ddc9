package infra_test

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"presence/internal/testenv"
)

// cdk-nag's AwsSolutions finds nothing that is not suppressed, and every
// suppression is one listed here, with a reason in the code.
func TestNag(t *testing.T) {
	all := []string{
		"AwsSolutions-ASC3 Api", "AwsSolutions-IAM5 FunctionRole", "AwsSolutions-SQS3 DeadLetters",
	}
	newPool := []string{"AwsSolutions-COG2 Users", "AwsSolutions-COG3 Users"}
	newVPC := []string{"AwsSolutions-VPC7 Vpc"}
	more := map[string][]string{
		"default":          slices.Concat(newPool, newVPC),
		"production-nodes": slices.Concat(newPool, newVPC, []string{"AwsSolutions-AEC5 ReplicationGroup", "AwsSolutions-AEC6 ReplicationGroup"}),
		"external-redis":   nil,
		"existing-vpc":     nil,
	}
	t.Parallel()
	for variant := range variants {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			files, err := filepath.Glob(filepath.Join(synthesized(t, variant).dir, "AwsSolutions-*-NagReport.csv"))
			if err != nil || len(files) != 1 {
				t.Fatalf("reports: %v %v", files, err)
			}
			file, err := os.Open(files[0])
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			rows, err := csv.NewReader(file).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			var suppressed []string
			compliant := 0
			for _, row := range rows[1:] {
				rule, construct, compliance, reason := row[0], strings.Split(row[1], "/")[1], row[2], row[3]
				switch compliance {
				case "Compliant":
					compliant++
				case "Suppressed":
					if len(reason) < 20 {
						t.Errorf("%s of %s is suppressed because %q", rule, construct, reason)
					}
					suppressed = append(suppressed, rule+" "+construct)
				default:
					t.Errorf("%s of %s: %s", rule, construct, compliance)
				}
			}
			if compliant == 0 {
				t.Error("no rule was checked")
			}
			slices.Sort(suppressed)
			want := slices.Sorted(slices.Values(slices.Concat(all, more[variant])))
			if diff := cmp.Diff(want, slices.Compact(suppressed)); diff != "" {
				t.Errorf("suppressed: -want +got:\n%s", diff)
			}
		})
	}
}

// The template keeps to the CloudFormation resource schemas, and the CDK's own
// validation has nothing to say about it.
func TestSpec(t *testing.T) {
	t.Parallel()
	needSpec(t)
	var templates []string
	for variant := range variants {
		dir := synthesized(t, variant).dir
		var report struct{ PluginReports []any }
		if b, err := os.ReadFile(filepath.Join(dir, "validation-report.json")); err != nil {
			t.Error(err)
		} else if err := json.Unmarshal(b, &report); err != nil || len(report.PluginReports) > 0 {
			t.Errorf("%s: %v\n%s", variant, err, b)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.template.json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("templates of %s: %v %v", variant, files, err)
		}
		templates = append(templates, files[0])
	}
	if problems := spec(t, templates...); problems != "" {
		t.Errorf("\n%s", problems)
	}
}

// The check itself finds what it is for.
func TestSpecFinds(t *testing.T) {
	t.Parallel()
	needSpec(t)
	queue := func(properties map[string]any) map[string]any {
		return map[string]any{"Resources": map[string]any{"R": map[string]any{"Type": "AWS::SQS::Queue", "Properties": properties}}}
	}
	of := func(typ string, properties map[string]any) map[string]any {
		return map[string]any{"Resources": map[string]any{"R": map[string]any{"Type": typ, "Properties": properties}}}
	}
	cases := map[string]struct {
		template map[string]any
		says     string
	}{
		"type":              {of("AWS::SQS::Queues", nil), "no resource type"},
		"property":          {queue(map[string]any{"Fifo": true}), "no property Fifo"},
		"string-as-number":  {queue(map[string]any{"DelaySeconds": "5"}), "is no integer"},
		"fraction":          {queue(map[string]any{"DelaySeconds": 1.5}), "is no integer"},
		"string-as-boolean": {queue(map[string]any{"FifoQueue": "true"}), "is no boolean"},
		"scalar-as-list":    {queue(map[string]any{"Tags": "a"}), "is no array"},
		"tag":               {queue(map[string]any{"Tags": []any{map[string]any{"Name": "a"}}}), "is no tag"},
		"required":          {of("AWS::ElastiCache::UserGroup", map[string]any{"Engine": "valkey"}), "UserGroupId is required"},
		"allowed-value":     {of("AWS::ElastiCache::UserGroup", map[string]any{"Engine": "memcached", "UserGroupId": "a", "UserIds": []any{"b"}}), "not one of"},
		"nested-property":   {of("AWS::Lambda::Function", map[string]any{"Role": "r", "Code": map[string]any{"Zip": "z"}}), "no property Zip"},
		"reference":         {queue(map[string]any{"QueueName": map[string]any{"Ref": "Nobody"}}), "Nobody"},
		"attribute":         {queue(map[string]any{"QueueName": map[string]any{"Fn::GetAtt": []any{"R", "Size"}}}), "no attribute Size"},
	}
	dir := t.TempDir()
	var paths []string
	for name, test := range cases {
		b, err := json.Marshal(test.template)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	problems := strings.Split(spec(t, paths...), "\n")
	for name, test := range cases {
		if !slices.ContainsFunc(problems, func(line string) bool {
			return strings.HasPrefix(line, filepath.Join(dir, name)+": ") && strings.Contains(line, test.says)
		}) {
			t.Errorf("%s: no problem that says %q in\n%s", name, test.says, strings.Join(problems, "\n"))
		}
	}
}

// needSpec skips a test where the schemas are not installed.
func needSpec(t *testing.T) {
	t.Helper()
	needNode(t)
	if _, err := os.Stat("../node_modules/@aws-cdk/aws-service-spec"); err == nil {
		return
	}
	testenv.Missing(t, "node", "the CloudFormation resource schemas are not installed: run npm ci")
}

// spec returns what the check prints about templates.
func spec(t *testing.T, templates ...string) string {
	t.Helper()
	out, err := exec.Command("node", append([]string{"testdata/spec.mjs"}, templates...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
