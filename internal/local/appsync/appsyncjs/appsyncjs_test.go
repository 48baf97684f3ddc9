package appsyncjs_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"presence"
	"presence/internal/local/appsync/appsyncjs"
	"presence/resolvers"
)

// contextOf makes a call of Query.status by a user.
func contextOf() *appsyncjs.Context {
	return &appsyncjs.Context{
		Parent: "Query", Field: "status",
		Arguments: []byte(`{"userId":"bob"}`),
		Identity:  []byte(`{"sub":"s","username":"alice"}`),
		Request:   func() []byte { return []byte(`{"headers":{"a":"b"},"domainName":null}`) },
		Variables: func() []byte { return []byte(`{"v":1}`) },
		Selection: func() ([]string, string) { return []string{"userId", "n/m"}, "{\n  userId\n}" },
	}
}

func compile(tb testing.TB, source string, env map[string]string) *appsyncjs.Code {
	tb.Helper()
	code, err := appsyncjs.Compile(source, env, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

// The deployed resolver sends the function what it uses and passes its answer
// on.
func TestDeployedCode(t *testing.T) {
	t.Parallel()
	code := compile(t, resolvers.JS, nil)
	ctx := contextOf()
	payload, err := code.Request(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"field":"Query.status","arguments":{"userId":"bob"},"caller":{"mode":"user","id":"s"}}`; string(payload) != want {
		t.Errorf("payload %s, want %s", payload, want)
	}
	ctx.Result = []byte(`{"data":{"userId":"bob"}}`)
	if got, err := code.Response(ctx); err != nil || string(got) != `{"userId":"bob"}` {
		t.Errorf("got %s, %v", got, err)
	}
	ctx.Result = []byte(`{"error":{"type":"InvalidArgument","message":"No."}}`)
	var raised *appsyncjs.Error
	if _, err := code.Response(ctx); !errors.As(err, &raised) || raised.Type != "InvalidArgument" || raised.Message != "No." {
		t.Errorf("got %v", err)
	}
	ctx.Result, ctx.Failed = nil, &appsyncjs.Error{Message: "secret"}
	if _, err := code.Response(ctx); !errors.As(err, &raised) || raised.Type != "Unavailable" {
		t.Errorf("got %v", err)
	}
}

// with makes code of the bodies of its two handlers.
func with(request, response string) string {
	return "import { util, extensions, runtime } from '@aws-appsync/utils';\nexport function request(ctx) {\n" + request + "\n}\nexport function response(ctx) {\n" + response + "\n}"
}

// ctx is as "Resolver context object reference" documents it.
func TestContext(t *testing.T) {
	t.Parallel()
	code := compile(t, with(`ctx.stash.kept = 'é'; return { operation: 'Invoke', payload: { ctx, headers: ctx.request.headers, list: ctx.info.selectionSetList, graphQL: ctx.info.selectionSetGraphQL, same: ctx.args === ctx.arguments } };`,
		`return { stash: ctx.stash, result: ctx.result, error: ctx.error };`), map[string]string{"TABLE": "t"})
	ctx := contextOf()
	payload, err := code.Request(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ctx":{"arguments":{"userId":"bob"},"args":{"userId":"bob"},"identity":{"sub":"s","username":"alice"},"source":null,"stash":{"kept":"é"},"env":{"TABLE":"t"},"prev":null,` +
		`"info":{"fieldName":"status","parentTypeName":"Query","variables":{"v":1}},"request":{"headers":{"a":"b"},"domainName":null}},"headers":{"a":"b"},"list":["userId","n/m"],"graphQL":"{\n  userId\n}","same":true}`
	if string(payload) != want {
		t.Errorf("got  %s\nwant %s", payload, want)
	}
	ctx.Failed = &appsyncjs.Error{Type: "Lambda:Unhandled", Message: "m"}
	if got, err := code.Response(ctx); err != nil || string(got) != `{"stash":{"kept":"é"},"result":null,"error":{"message":"m","type":"Lambda:Unhandled"}}` {
		t.Errorf("got %s, %v", got, err)
	}
}

// Broken UTF-16 and every other text of an argument come out as JSON.
func TestBrokenText(t *testing.T) {
	t.Parallel()
	code := compile(t, resolvers.JS, nil)
	for _, title := range []string{`Cats \ud83d`, `\ude00\ud83d`, `\u0000`, `\u2028`, `😀`, `\"\\`} {
		ctx := contextOf()
		ctx.Arguments = []byte(`{"title":"` + title + `"}`)
		payload, err := code.Request(ctx)
		if err != nil || !json.Valid(payload) {
			t.Errorf("%s: %s, %v", title, payload, err)
		}
	}
}

func TestUtil(t *testing.T) {
	t.Parallel()
	const invoke = "return { operation: 'Invoke', payload: null };"
	for name, test := range map[string]struct{ request, response, want string }{
		"error":             {invoke, `util.error('m', 'T', { a: 1 }, [2]);`, `m|T|{"a":1}|[2]`},
		"error-alone":       {invoke, `util.error('m');`, `m||null|null`},
		"error-in-request":  {`util.error('m', 'T');`, ``, `m|T|null|null`},
		"unauthorized":      {`util.unauthorized();`, ``, `Not Authorized to access status on type Query|Unauthorized||`},
		"no-return":         {invoke, ``, `null`},
		"undefined":         {invoke, `return undefined;`, `null`},
		"append":            {invoke, `util.appendError('m', 'T'); return 1;`, `1 m|T|null|null`},
		"auto-id":           {invoke, `return util.autoId().length;`, `36`},
		"now":               {invoke, `return util.time.nowISO8601().length;`, `24`},
		"no-invoke":         {`return { operation: 'BatchInvoke' };`, ``, `defect: operation 'Invoke'`},
		"no-request":        {``, ``, `defect: operation 'Invoke'`},
		"unknown-util":      {invoke, `return util.dynamodb.toMapValues({});`, `defect: The local AppSync does not have util.dynamodb.`},
		"filter-of-a-query": {invoke, `extensions.setSubscriptionFilter({});`, `defect: is for the response of a subscription`},
		"type-error":        {invoke, `return ctx.nothing.at.all;`, `defect: TypeError`},
		"endless-recursion": {invoke, `const f = () => f(); return f();`, `defect: more than 200 deep`},
		"module-state":      {invoke, `ctx.env.A = 1;`, `defect: TypeError`},
		"console":           {invoke, `console.log('a', 1); return 1;`, `1`},
		"early-return":      {`runtime.earlyReturn(null);`, ``, `defect: runtime.earlyReturn`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code := compile(t, with(test.request, test.response), nil)
			ctx := contextOf()
			_, err := code.Request(ctx)
			var got []byte
			if err == nil {
				ctx.Result = []byte("null")
				got, err = code.Response(ctx)
			}
			text := string(got)
			var raised *appsyncjs.Error
			switch {
			case errors.As(err, &raised):
				text = line(raised)
			case err != nil:
				text = "defect: " + err.Error()
			}
			for _, e := range ctx.Appended {
				text += " " + line(e)
			}
			if defect, ok := strings.CutPrefix(test.want, "defect: "); ok {
				if !strings.HasPrefix(text, "defect: ") || !strings.Contains(text, defect) {
					t.Errorf("got %s, want a defect that says %s", text, defect)
				}
			} else if text != test.want {
				t.Errorf("got %s, want %s", text, test.want)
			}
		})
	}
}

// A handler that runs too long is stopped, and the next call is not.
func TestTooLong(t *testing.T) {
	t.Parallel()
	code := compile(t, with("if (ctx.args.userId === 'bob') { const a = [...'x'.repeat(200)]; for (const b of a) for (const c of a) for (const d of a) for (const e of a) for (const f of a) { } }\nreturn { operation: 'Invoke', payload: 1 };", ""), nil)
	code.SetLimit(20 * time.Millisecond)
	if _, err := code.Request(contextOf()); err == nil || !strings.Contains(err.Error(), "ran longer than 20ms") {
		t.Errorf("got %v", err)
	}
	code.SetLimit(time.Hour)
	ctx := contextOf()
	ctx.Arguments = []byte("{}")
	if got, err := code.Request(ctx); err != nil || string(got) != "1" {
		t.Errorf("got %s, %v", got, err)
	}
}

func line(e *appsyncjs.Error) string {
	return e.Message + "|" + e.Type + "|" + string(e.Data) + "|" + string(e.Info)
}

// Code sees nothing of the machine it runs on, and no way to make code.
func TestSandbox(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"eval", "Function", "globalThis.eval", "setTimeout", "require", "process", "Date", "Promise", "RegExp", "Proxy", "Reflect", "host", "Symbol", "WeakMap", "globalThis",
	} {
		code := compile(t, with("return { operation: 'Invoke', payload: "+name+" };", ""), nil)
		if got, err := code.Request(contextOf()); err == nil {
			t.Errorf("%s is %s", name, got)
		}
	}
	for _, name := range []string{"request.constructor", "(() => 1).constructor", "[].map.constructor", "Object.constructor"} {
		code := compile(t, with("return { operation: 'Invoke', payload: "+name+"('return 7')() };", ""), nil)
		if got, err := code.Request(contextOf()); err == nil {
			t.Errorf("%s makes code: %s", name, got)
		}
	}
}

// What AppSync refuses is refused when the server starts.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ request, says string }{
		"throw":       {`throw 1;`, "line 3, column 1: APPSYNC_JS has no throw"},
		"try":         {`try { } finally { }`, "no try"},
		"while":       {`while (true) { }`, "no while"},
		"do-while":    {`do { } while (true);`, "no do-while"},
		"for":         {`for (let i = 0; i < 1; i += 1) { }`, "no for (;;)"},
		"increment":   {`let i = 0; i++;`, "no operator ++"},
		"not":         {`return ~1;`, "no operator ~"},
		"in":          {`return 'a' in ctx;`, "no operator in"},
		"continue":    {`for (const a of []) { continue; }`, "no continue"},
		"label":       {`a: for (const b of []) { break a; }`, "no labels"},
		"regexp":      {`return ctx.a.match(/a/);`, "no regular expression literals"},
		"async":       {`const f = async () => 1;`, "no async functions"},
		"async-named": {`async function f() { }`, "no async functions"},
		"generator":   {`function* f() { }`, "no generators"},
		"class":       {`class A { }`, "no classes"},
		"this":        {`return this.a;`, "no this"},
		"new":         {`return new Object();`, "no new"},
		"nested":      {`return [1].map((a) => ({ b: [...'x', () => { throw a; }] }));`, "no throw"},
		"template":    {"return `${(() => { throw 1; })()}`;", "no throw"},
		"syntax":      {`return (;`, "Unexpected token"},
		"sloppy":      {`undeclared = 1; with (ctx) { }`, "with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, with(test.request, ""), test.says)
		})
	}
	whole := map[string]struct{ code, says string }{
		"too-long":       {with("", "") + strings.Repeat("é", 32_000), "characters; AppSync takes 32000"},
		"no-response":    {"export function request(ctx) { }", "exports no function response"},
		"no-function":    {"export const request = 1, response = 2;", "no function"},
		"other-module":   {"import { a } from 'fs';" + with("", ""), "imports fs"},
		"unknown-import": {"import { ddb } from '@aws-appsync/utils';\nexport function request() { return ddb; }\nexport function response() { }", "ddb"},
		"top-level":      {"const a = ctx.b;\n" + with("", ""), "ctx is not defined"},
	}
	for name, test := range whole {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, test.code, test.says)
		})
	}
}

func refused(t *testing.T, code, says string) {
	t.Helper()
	_, err := appsyncjs.Compile(code, nil, nil)
	if err == nil || presence.AsError(err).Code != presence.InvalidArgument || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want InvalidArgument that says %q", err, says)
	}
}

// Calls at once share nothing.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	code := compile(t, resolvers.JS, nil)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name := string(rune('a' + i))
			for range 200 {
				ctx := contextOf()
				ctx.Identity = []byte(`{"sub":"` + name + `","username":"u"}`)
				payload, err := code.Request(ctx)
				if err != nil || !strings.Contains(string(payload), `"id":"`+name+`"`) {
					t.Errorf("%s: %s, %v", name, payload, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkHandlers measures what the JavaScript costs one call: both handlers
// of the deployed resolver.
func BenchmarkHandlers(b *testing.B) {
	code := compile(b, resolvers.JS, nil)
	result := []byte(`{"data":{"userId":"bob","status":"online","url":"https://example.com/","title":"Home","lastSeen":"2023-11-14T22:13:20.000Z","asOf":"2023-11-14T22:13:20.000Z","expiresAt":"2023-11-14T22:14:35.000Z","heartbeatIntervalMs":30000,"topics":null}}`)
	b.ReportAllocs()
	for b.Loop() {
		ctx := contextOf()
		if _, err := code.Request(ctx); err != nil {
			b.Fatal(err)
		}
		ctx.Result = result
		if _, err := code.Response(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
