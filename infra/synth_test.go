package infra_test

import (
	"context"
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

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/google/go-cmp/cmp"

	"presence/infra"
	"presence/internal/testenv"
)

// account and region are where the tests deploy to.
const (
	account = "123456789012"
	region  = "eu-central-1"
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
		"vpcId": vpcID, "userPoolId": "eu-central-1_Example",
		vpcLookup: vpc(subnet{"Private", "a", "1"}, subnet{"Private", "b", "1"}),
	},
	"existing-vpc": {
		"vpcId": vpcID, "userPoolId": "eu-central-1_Example", "userPoolClientIds": "client1,client2",
		vpcLookup: vpc(subnet{"Isolated", "a", "1"}, subnet{"Isolated", "b", "1"}),
	},
}

const (
	vpcID = "vpc-0123456789abcdef0"
	// vpcLookup is the context key under which cdk keeps what it has looked up.
	vpcLookup = "vpc-provider:account=" + account + ":filter.vpc-id=" + vpcID + ":region=" + region + ":returnAsymmetricSubnets=true"
)

// subnet is one of a looked-up VPC: its type, which is Public, Private or
// Isolated, the letter of its zone, and a number of its own.
type subnet struct{ typ, zone, number string }

// vpc returns a VPC as cdk would have looked it up.
func vpc(subnets ...subnet) map[string]any {
	var groups []any
	for _, typ := range []string{"Public", "Private", "Isolated"} {
		var members []any
		for i, s := range subnets {
			if s.typ == typ {
				id := strings.ToLower(typ) + s.zone + s.number
				members = append(members, map[string]any{
					"subnetId": "subnet-" + id, "cidr": fmt.Sprintf("10.1.%d.0/24", i), "availabilityZone": region + s.zone, "routeTableId": "rtb-" + id,
				})
			}
		}
		if members != nil {
			groups = append(groups, map[string]any{"name": typ, "type": typ, "subnets": members})
		}
	}
	return map[string]any{"vpcId": vpcID, "vpcCidrBlock": "10.1.0.0/16", "ownerAccountId": account, "availabilityZones": []any{}, "subnetGroups": groups}
}

// changes are contexts a deployment of the default variant may be updated to.
// Only tests of updates look at them.
var changes = map[string]map[string]any{
	"nodes":      {"redis": "nodes", "xray": true, "archiveDays": 7, "reservedConcurrency": 50, "stage": "production"},
	"production": {"stage": "production"},
	"zones":      {"zones": "eu-central-1b,eu-central-1c"},
	"nodes-in-existing-vpc": {
		"redis": "nodes", "vpcId": vpcID, vpcLookup: vpc(subnet{"Isolated", "a", "1"}, subnet{"Isolated", "b", "1"}),
	},
	"other-subnets": {
		"vpcId": vpcID, vpcLookup: vpc(subnet{"Private", "b", "7"}, subnet{"Private", "c", "7"}),
	},
}

// scratch holds the function, the app and the assemblies until the tests are over.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "presence-infra-"); err != nil {
		panic(err)
	}
	os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")
	code := m.Run()
	jsii.Close()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// needNode skips a test where there is no Node.js, which the CDK runs on.
func needNode(t *testing.T) {
	t.Helper()
	testenv.Require(t, "node", "node")
}

// function builds the function's deployment package, once.
var function = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "function")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return infra.BuildFunction(context.Background(), dir)
})

// assembly is what one synth wrote.
type assembly struct {
	dir      string
	template template
}

// assemblies are the variants' synths, each done once.
var assemblies = func() map[string]func() (assembly, error) {
	m := map[string]func() (assembly, error){}
	all := maps.Clone(variants)
	maps.Copy(all, changes)
	for name, context := range all {
		m[name] = sync.OnceValues(func() (assembly, error) { return synth(filepath.Join(scratch, name), context) })
	}
	return m
}()

// jsiiMutex lets one test at a time use the JavaScript process behind the CDK.
// There is only one: to start it and load the CDK takes seconds, and each
// further synth a fraction of one.
var jsiiMutex sync.Mutex

// synth writes the assembly of a context into dir.
func synth(dir string, values map[string]any) (_ assembly, err error) {
	zip, err := function()
	if err != nil {
		return assembly{}, err
	}
	jsiiMutex.Lock()
	defer jsiiMutex.Unlock()
	// The CDK panics where JavaScript throws.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	app := awscdk.NewApp(&awscdk.AppProps{AnalyticsReporting: jsii.Bool(false), Outdir: &dir, Context: &values})
	all, _ := app.Node().GetAllContext(nil).(map[string]any)
	c, err := infra.ParseContext(all)
	if err != nil {
		return assembly{}, err
	}
	if _, err := infra.NewStack(app, c, infra.Options{Function: zip, Account: account, Region: region}); err != nil {
		return assembly{}, err
	}
	app.Synth(nil)
	return readAssembly(dir)
}

func readAssembly(dir string) (assembly, error) {
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

// cdk runs the app as cdk does and returns what it printed.
func cdk(t *testing.T, dir string, values map[string]any) (string, error) {
	t.Helper()
	needNode(t)
	app := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", app, "./app").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(app)
	cmd.Env = append(os.Environ(), "CDK_OUTDIR="+dir, "CDK_CONTEXT_JSON="+string(text),
		"CDK_DEFAULT_ACCOUNT="+account, "CDK_DEFAULT_REGION="+region)
	out, err := cmd.CombinedOutput()
	return string(out), err
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
	DependsOn      []string
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

// The app, run as cdk runs it, writes what the other tests look at.
func TestApp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const variant = "existing-vpc" // The one that needs all of cdk's environment.
	if out, err := cdk(t, dir, variants[variant]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := readAssembly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(synthesized(t, variant).template, got.template); diff != "" {
		t.Errorf("-synthesized here +by the app:\n%s", diff)
	}
}

// The app says what is wrong with a setting, and fails.
func TestAppRefuses(t *testing.T) {
	t.Parallel()
	out, err := cdk(t, t.TempDir(), map[string]any{"timeuot": "75s"})
	if err == nil || !strings.Contains(out, `There is no context key "timeuot"`) {
		t.Errorf("got %v:\n%s", err, out)
	}
	if strings.Contains(out, "goroutine") {
		t.Errorf("a stack trace:\n%s", out)
	}
}
