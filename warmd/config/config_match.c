/* SPDX-License-Identifier: MIT */
/* config_match.c - what the settings say of a variable, a path, a command */
#include "warmd/config/config.h"

#include <fnmatch.h>
#include <string.h>

#include "engine/base/fd.h"

/* what a terminal, a session or a supervisor sets anew each time; TERM and the locale are not among it, programs act on those */
static const char *const volatile_variables[] = {
	"PWD",
	"OLDPWD",
	"SHLVL",
	"_",
	"COLUMNS",
	"LINES",
	"WARM_*",
	/* terminals and multiplexers */
	"TERM_SESSION_ID",
	"TERM_PROGRAM",
	"TERM_PROGRAM_VERSION",
	"WINDOWID",
	"WINDOW",
	"STY",
	"TMUX",
	"TMUX_PANE",
	"GPG_TTY",
	"VTE_VERSION",
	"ITERM_SESSION_ID",
	"KITTY_PID",
	"KITTY_WINDOW_ID",
	"KITTY_LISTEN_ON",
	"ALACRITTY_*",
	"WEZTERM_PANE",
	"WEZTERM_UNIX_SOCKET",
	"KONSOLE_DBUS_*",
	"GNOME_TERMINAL_*",
	"TILIX_ID",
	"WT_SESSION",
	"ZELLIJ_*",
	"VSCODE_*",
	"STARSHIP_SESSION_KEY",
	/* sessions */
	"SSH_*",
	"XDG_SESSION_*",
	"XDG_VTNR",
	"XDG_SEAT",
	"XDG_SEAT_PATH",
	"DBUS_SESSION_BUS_ADDRESS",
	"SESSION_MANAGER",
	"DESKTOP_STARTUP_ID",
	"XDG_ACTIVATION_TOKEN",
	/* service managers and test runners */
	"INVOCATION_ID",
	"JOURNAL_STREAM",
	"SYSTEMD_*",
	"MANAGERPID",
	"NOTIFY_SOCKET",
	"LISTEN_PID",
	"LISTEN_FDS",
	"LISTEN_FDNAMES",
	"WATCHDOG_PID",
	"WATCHDOG_USEC",
	"MAKELEVEL",
	"PYTEST_CURRENT_TEST",
};

/* NAME or PREFIX* */
static bool variable_matches(const char *pattern, const char *name, size_t len)
{
	size_t n = strlen(pattern);

	if (pattern[n - 1] == '*')
		return len >= n - 1 && memcmp(name, pattern, n - 1) == 0;
	return len == n && memcmp(name, pattern, n) == 0;
}

bool config_ignores_listed_variable(const struct config *cfg, const char *name, size_t len)
{
	for (size_t i = 0; i < cfg->ignore_variables.count; i++) {
		if (variable_matches(cfg->ignore_variables.items[i], name, len))
			return true;
	}
	return false;
}

bool config_ignores_variable(const struct config *cfg, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(volatile_variables); i++) {
		if (variable_matches(volatile_variables[i], name, len))
			return true;
	}
	return config_ignores_listed_variable(cfg, name, len);
}

bool config_ignores_path(const struct config *cfg, const char *path)
{
	for (size_t i = 0; i < cfg->ignore_paths.count; i++) {
		const char *pattern = cfg->ignore_paths.items[i];

		/* LEADING_DIR: what is below a match matches; "/" is the one that ends in a slash */
		if (strcmp(pattern, "/") == 0 || fnmatch(pattern, path, FNM_PATHNAME | FNM_LEADING_DIR) == 0)
			return true;
	}
	return false;
}

/* a glob without a slash is compared with the last component */
static bool names_command(const struct config_list *list, const char *command)
{
	const char *slash = strrchr(command, '/');

	for (size_t i = 0; i < list->count; i++) {
		const char *pattern = list->items[i];
		const char *name = strchr(pattern, '/') || !slash ? command : slash + 1;

		if (fnmatch(pattern, name, 0) == 0)
			return true;
	}
	return false;
}

bool config_disables(const struct config *cfg, const char *command)
{
	return names_command(&cfg->disable, command);
}

bool config_keeps(const struct config *cfg, const char *command)
{
	return cfg->keep && !names_command(&cfg->keep_never, command);
}
