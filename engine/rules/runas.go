package rules

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"hookrun/actions"
	"hookrun/engine"
)

// runAs reads the user that a command runs as: user or user:group, by names or
// numbers.
func (a action) runAs() *actions.Account {
	if !a.onUnix("run_as") {
		return nil
	}
	n := a.values["run_as"]
	if a.constant("run_as") == "" {
		return nil
	}
	if a.d.disabled || a.d.l.o.Dry { // the user need not be there
		return &actions.Account{}
	}
	who, err := account(n.Value)
	if err != nil {
		a.d.fail(n, "user or user:group, by names or numbers", "run_as: %v", err)
		return nil
	}
	if !mayBe(who, os.Geteuid(), os.Getegid()) {
		a.d.fail(n, "start hookrun as root, or as that user and leave run_as out", "run_as: only root can run a command as %s", show(n))
		return nil
	}
	return who
}

// runsAs reports whether a rule that is enabled has a command run as another user.
func (l *loader) runsAs() bool {
	for _, r := range l.enabled {
		if slices.ContainsFunc(allSteps(r), func(s engine.Step) bool { return isOther(s.Action) }) {
			return true
		}
	}
	return false
}

// isOther reports whether what an action starts is not of hookrun's own user.
func isOther(a engine.Action) bool {
	var who *actions.Account
	switch x := a.(type) {
	case *actions.Exec:
		who = x.Bounds.RunAs
	case *actions.Shell:
		who = x.Bounds.RunAs
	}
	return who != nil && who.UID != os.Geteuid()
}

// mayBe reports whether a hookrun with these ids can run a command as who.
func mayBe(who *actions.Account, euid, egid int) bool {
	return euid == 0 || who.UID == euid && who.GID == egid
}

// account looks a user up, with the groups of the user.
func account(text string) (*actions.Account, error) {
	name, group, grouped := strings.Cut(text, ":")
	if name == "" || grouped && group == "" {
		return nil, fmt.Errorf("%q names no user, or no group behind the colon", text)
	}
	who, err := accountOf(name)
	if err == nil && grouped {
		who.GID, err = groupID(group)
	}
	switch {
	case err != nil:
		return nil, err
	case who.GID < 0:
		return nil, fmt.Errorf("user %s is not known to the system: name a group too, as in %s:%s", name, name, name)
	case len(who.Groups) == 0:
		who.Groups = []int{who.GID}
	}
	return who, nil
}

// accountOf is the account of a user with its own group, which is -1 for a
// number that the system does not know.
func accountOf(name string) (*actions.Account, error) {
	u, err := user.Lookup(name)
	uid, notNumber := number(name)
	if err != nil && notNumber == nil {
		u, err = user.LookupId(name)
	}
	var unknownName user.UnknownUserError
	var unknownID user.UnknownUserIdError
	switch {
	case errors.As(err, &unknownID):
		return &actions.Account{Name: name, Home: "/", UID: uid, GID: -1}, nil
	case errors.As(err, &unknownName):
		return nil, fmt.Errorf("there is no user %s", name)
	case err != nil:
		return nil, fmt.Errorf("look up user %s: %w", name, err)
	}
	return known(u)
}

func known(u *user.User) (*actions.Account, error) {
	who := &actions.Account{Name: u.Username, Home: u.HomeDir, UID: -1, GID: -1}
	if who.Home == "" {
		who.Home = "/"
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up the groups of %s: %w", u.Username, err)
	}
	uid, err := number(u.Uid)
	gid, err2 := number(u.Gid)
	if err = errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("user %s: %w", u.Username, err)
	}
	who.UID, who.GID = uid, gid
	for _, g := range groups {
		if id, err := number(g); err == nil {
			who.Groups = append(who.Groups, id)
		}
	}
	return who, nil
}

func groupID(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return number(g.Gid)
	}
	if id, err := number(name); err == nil {
		return id, nil
	}
	return 0, fmt.Errorf("there is no group %s", name)
}

// number reads the number of a user or a group; the highest means nobody.
func number(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is no number of a user or a group", text)
	}
	return int(n), nil
}
