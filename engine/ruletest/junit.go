package ruletest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of a JUnit report, as Jenkins, GitLab and GitHub's actions read it.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    string        `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes reports as JUnit XML. What XML can't hold stands there as
// U+FFFD.
func WriteJUnit(w io.Writer, reports []*Report) error {
	var all junitSuites
	var took time.Duration
	for _, r := range reports {
		s := suite(r)
		all.Suites = append(all.Suites, s)
		all.Tests += s.Tests
		all.Failures += s.Failures
		took += r.Took
	}
	all.Time = seconds(took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	out := xml.NewEncoder(w)
	out.Indent("", "  ")
	if err := out.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func suite(r *Report) junitSuite {
	s := junitSuite{Name: r.File, Tests: len(r.Results), Failures: r.Failed(), Time: seconds(r.Took)}
	for i := range r.Results {
		res := &r.Results[i]
		c := junitCase{Name: res.Name, Class: r.File, File: r.File, Time: seconds(res.Took)}
		c.Line, _ = strings.CutPrefix(res.Place, r.File+":")
		if len(res.Failures) > 0 {
			c.Failure = &junitFailure{Message: res.Failures[0].Msg, Text: res.Text()}
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

// Text is what is wrong, a line each, those of a diff indented.
func (r *Result) Text() string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintln(&b, f.Msg)
		for _, line := range f.Lines {
			fmt.Fprintln(&b, "    "+line)
		}
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
