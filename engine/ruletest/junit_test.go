package ruletest

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"
)

func TestJUnit(t *testing.T) {
	reports := []*Report{{
		File: "a.tests.yaml", Took: 1500 * time.Millisecond,
		Results: []Result{
			{Name: "good", Place: "a.tests.yaml:2", Took: time.Second},
			{Name: "bad <&\"\x00\x1b", Place: "a.tests.yaml:7", Failures: []Failure{{`rule "x" ]]> & <`, []string{"- a", "+ b\x00"}}, {"more", nil}}},
		},
	}, {File: "b.tests.yaml"}}
	var b strings.Builder
	if err := WriteJUnit(&b, reports); err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="1" time="1.500">
  <testsuite name="a.tests.yaml" tests="2" failures="1" errors="0" time="1.500">
    <testcase name="good" classname="a.tests.yaml" file="a.tests.yaml" line="2" time="1.000"></testcase>
    <testcase name="bad &lt;&amp;&#34;` + "\ufffd\ufffd" + `" classname="a.tests.yaml" file="a.tests.yaml" line="7" time="0.000">
      <failure message="rule &#34;x&#34; ]]&gt; &amp; &lt;">rule &#34;x&#34; ]]&gt; &amp; &lt;&#xA;    - a&#xA;    + b` + "\ufffd" + `&#xA;more&#xA;</failure>
    </testcase>
  </testsuite>
  <testsuite name="b.tests.yaml" tests="0" failures="0" errors="0" time="0.000"></testsuite>
</testsuites>
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	var back junitSuites
	if err := xml.Unmarshal([]byte(b.String()), &back); err != nil || back.Failures != 1 || back.Suites[0].Cases[1].Failure.Text != "rule \"x\" ]]> & <\n    - a\n    + b\ufffd\nmore\n" {
		t.Errorf("read back %+v, %v", back, err)
	}
}
