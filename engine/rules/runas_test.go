//go:build unix

package rules

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hookrun/actions"
)

func TestAccountHasTheGroupsOfTheUser(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := me.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{me.Username, me.Uid, me.Username + ":" + me.Gid, me.Uid + ":" + me.Gid} {
		who, err := account(text)
		if err != nil {
			t.Errorf("account(%q): %v", text, err)
			continue
		}
		if fmt.Sprint(who.UID, who.GID) != me.Uid+" "+me.Gid || who.Name != me.Username || who.Home != me.HomeDir {
			t.Errorf("account(%q) = %+v, want %+v", text, who, me)
		}
		var got []string
		for _, g := range who.Groups {
			got = append(got, strconv.Itoa(g))
		}
		if !slices.Equal(got, groups) {
			t.Errorf("account(%q) is in the groups %q, want %q", text, got, groups)
		}
	}
	other, err := account(me.Username + ":4321")
	if err != nil || other.GID != 4321 || strconv.Itoa(other.UID) != me.Uid {
		t.Errorf("another group: %+v, %v", other, err)
	}
	unknown, err := account("3999999999:4321")
	if err != nil || unknown.UID != 3999999999 || unknown.GID != 4321 || !slices.Equal(unknown.Groups, []int{4321}) || unknown.Home != "/" {
		t.Errorf("numbers that the system does not know: %+v, %v", unknown, err)
	}
}

func TestOnlyRootIsAnother(t *testing.T) {
	app := &actions.Account{UID: 1000, GID: 100}
	tests := []struct {
		name       string
		euid, egid int
		want       bool
	}{
		{"root", 0, 0, true},
		{"the user", 1000, 100, true},
		{"another user", 1001, 100, false},
		{"the user in another group", 1000, 101, false},
	}
	for _, tt := range tests {
		if got := mayBe(app, tt.euid, tt.egid); got != tt.want {
			t.Errorf("%s: mayBe = %v, want %v", tt.name, got, tt.want)
		}
	}
	if os.Geteuid() == 0 {
		g := parse(t, "rules: [{name: deploy, actions: [{exec: [make], run_as: '1000:100'}]}]", testOptions(t))
		if who := g.Rules.Rules[0].Steps[0].Action.(*actions.Exec).Bounds.RunAs; who == nil || who.UID != 1000 || who.GID != 100 {
			t.Errorf("run_as = %+v, want 1000:100", who)
		}
		return
	}
	got := problemsOf(t, "rules: [{name: deploy, actions: [{exec: [make], run_as: 'root'}]}]", testOptions(t))
	if want := `run_as: only root can run a command as "root"`; !strings.Contains(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}
}

func TestRunsAsIsOfCommandsOfOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a command as another user")
	}
	tests := []struct {
		name, rule string
		want       bool
	}{
		{"none", "{name: deploy, actions: [{exec: [make]}]}", false},
		{"exec", "{name: deploy, actions: [{exec: [make], run_as: '1000:100'}]}", true},
		{"shell, after a failure", "{name: deploy, actions: [{exec: [make]}], on_failure: [{shell: 'true', run_as: '1000:100'}]}", true},
		{"hookrun's own user", "{name: deploy, actions: [{exec: [make], run_as: '0:100'}]}", false},
		{"a rule that is off", "{name: deploy, enabled: false, actions: [{exec: [make], run_as: '1000:100'}]}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := parse(t, "rules: ["+tt.rule+"]", testOptions(t)).RunsAs; got != tt.want {
				t.Errorf("RunsAs = %v, want %v", got, tt.want)
			}
		})
	}
}
