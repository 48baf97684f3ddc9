package infra_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"presence/internal/testenv"
)

// variants are the contexts the tests synthesize, each once.
var variants = map[string]map[string]any{
	"default": {},
	"production-nodes": {
		"name": "presence-live", "stage": "production", "redis": "nodes", "redisNodeType": "cache.m7g.large",
		"xray": true, "archiveDays": 7, "reservedConcurrency": 50, "logRetentionDays": 180, "fieldLogs": "ALL",
		"alarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
		"heartbeat":     "60s", "timeout": "210s", "retention": "48h", "shards": 32, "sweepFor": "0s",
	},
	"external-redis": {
		"redis": "rediss://presence:{{resolve:secretsmanager:redis:SecretString:password}}@redis.example:6390", "redisCluster": "true",
		"redisSecurityGroupId": "sg-0123456789abcdef0", "statusRedisUrl": "redis://pages.example",
		"userPoolId": "eu-central-1_Example",
	},
	"existing-vpc": {
		"vpcId": "vpc-0123456789abcdef0", "userPoolId": "eu-central-1_Example", "userPoolClientIds": "client1,client2",
		// What cdk would have looked up.
		"vpc-provider:account=123456789012:filter.vpc-id=vpc-0123456789abcdef0:region=eu-central-1:returnAsymmetricSubnets=true": map[string]any{
			"vpcId": "vpc-0123456789abcdef0", "vpcCidrBlock": "10.1.0.0/16", "ownerAccountId": "123456789012", "availabilityZones": []string{},
			"subnetGroups": []any{map[string]any{"name": "Private", "type": "Private", "subnets": []any{
				map[string]any{"subnetId": "subnet-a", "cidr": "10.1.1.0/24", "availabilityZone": "eu-central-1a", "routeTableId": "rtb-a"},
				map[string]any{"subnetId": "subnet-b", "cidr": "10.1.2.0/24", "availabilityZone": "eu-central-1b", "routeTableId": "rtb-b"},
			}}},
		},
	},
}

// scratch holds the app and its assemblies until the tests are over.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "presence-infra-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// needNode skips a test where there is no Node.js, which the CDK runs on.
func needNode(t *testing.T) {
	t.Helper()
	testenv.Require(t, "node", "node")
}

// assembly is what one synth wrote.
type assembly struct {
	dir      string
	template template
}

// buildApp builds the CDK app once.
var buildApp = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "app")
	out, err := exec.Command("go", "build", "-o", path, "./app").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return path, err
})

// assemblies are the variants' synths. Each is a process of its own, as under
// cdk, so they run beside each other.
var assemblies = func() map[string]func() (assembly, error) {
	m := map[string]func() (assembly, error){}
	for name, context := range variants {
		m[name] = sync.OnceValues(func() (assembly, error) {
			dir := filepath.Join(scratch, name)
			if out, err := synth(dir, context); err != nil {
				return assembly{}, fmt.Errorf("%w\n%s", err, out)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*.template.json"))
			if err != nil || len(files) != 1 {
				return assembly{}, fmt.Errorf("%d templates: %w", len(files), err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				return assembly{}, err
			}
			a := assembly{dir: dir}
			return a, json.Unmarshal(b, &a.template)
		})
	}
	return m
}()

// synth runs the app as cdk does and returns what it printed.
func synth(dir string, context map[string]any) (string, error) {
	app, err := buildApp()
	if err != nil {
		return "", err
	}
	values, err := json.Marshal(context)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(app)
	cmd.Env = append(os.Environ(), "CDK_OUTDIR="+dir, "CDK_CONTEXT_JSON="+string(values),
		"CDK_DEFAULT_ACCOUNT=123456789012", "CDK_DEFAULT_REGION=eu-central-1", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// synthesized returns a variant's assembly.
func synthesized(t *testing.T, variant string) assembly {
	t.Helper()
	needNode(t)
	a, err := assemblies[variant]()
	if err != nil {
		t.Fatalf("synth of %s: %v", variant, err)
	}
	return a
}

// template is a CloudFormation template. Tests find resources by type and by
// what refers to them, never by logical id, which is the CDK's to choose.
type template struct {
	Resources map[string]*resource
	Outputs   map[string]struct{ Value any }
}

type resource struct {
	Type           string
	Properties     map[string]any
	DeletionPolicy string
}

// all returns the resources of a type.
func (tm template) all(typ string) []*resource {
	var found []*resource
	for _, id := range slices.Sorted(maps.Keys(tm.Resources)) {
		if tm.Resources[id].Type == typ {
			found = append(found, tm.Resources[id])
		}
	}
	return found
}

// one returns the only resource of a type.
func (tm template) one(t *testing.T, typ string) *resource {
	t.Helper()
	found := tm.all(typ)
	if len(found) != 1 {
		t.Fatalf("%d resources of type %s, want 1", len(found), typ)
	}
	return found[0]
}

// target returns the resource a Ref or Fn::GetAtt refers to, and the attribute:
// empty for a Ref. Nil is what refers to nothing in the template.
func (tm template) target(value any) (*resource, string) {
	m, _ := value.(map[string]any)
	if id, ok := m["Ref"].(string); ok {
		return tm.Resources[id], ""
	}
	if pair, ok := m["Fn::GetAtt"].([]any); ok {
		return tm.Resources[pair[0].(string)], pair[1].(string)
	}
	return nil, ""
}

// refersTo tells whether a value is a reference to r by that attribute.
func (tm template) refersTo(value any, r *resource, attribute string) bool {
	got, attr := tm.target(value)
	return got != nil && got == r && attr == attribute
}

// text renders a string with its references: ${Type.Attribute}, ${AWS::Region}.
func (tm template) text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case float64, bool:
		return fmt.Sprint(v)
	case map[string]any:
		if r, attribute := tm.target(v); r != nil {
			return strings.TrimSuffix("${"+r.Type+"."+attribute, ".") + "}"
		}
		if pseudo, ok := v["Ref"].(string); ok {
			return "${" + pseudo + "}"
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			var parts []string
			for _, part := range join[1].([]any) {
				parts = append(parts, tm.text(part))
			}
			return strings.Join(parts, join[0].(string))
		}
	}
	b, _ := json.Marshal(value)
	return string(b)
}

// texts renders a string or a list of them.
func (tm template) texts(value any) []string {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var texts []string
	for _, item := range list {
		texts = append(texts, tm.text(item))
	}
	return texts
}

// at returns the value at a path of property names and list indices.
func at(value any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := value.(map[string]any)
			value = m[s]
		case int:
			list, _ := value.([]any)
			if s >= len(list) {
				return nil
			}
			value = list[s]
		}
	}
	return value
}

// prop returns the value at a path of a resource's properties.
func (r *resource) prop(path ...any) any { return at(r.Properties, path...) }

// environment returns the function's variables.
func (tm template) environment(t *testing.T) map[string]string {
	t.Helper()
	vars := map[string]string{}
	for name, value := range tm.one(t, "AWS::Lambda::Function").prop("Environment", "Variables").(map[string]any) {
		vars[name] = tm.text(value)
	}
	return vars
}

// TestRefusesBadContext: the app says what is wrong and fails.
func TestRefusesBadContext(t *testing.T) {
	t.Parallel()
	needNode(t)
	out, err := synth(filepath.Join(scratch, "refused"), map[string]any{"timeuot": "75s"})
	if err == nil || !strings.Contains(out, `There is no context key "timeuot"`) {
		t.Errorf("got %v:\n%s", err, out)
	}
}
