/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --run: a command that has the server for as long as it runs. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct ImRunCommand ImRunCommand;

/* Starts COMMAND with sh, which finds the server on SOCKET_PATH by the variables nbd,
 * uri, unixsocket and exportname.  ENDED (data) is called once, on a thread of its own,
 * when it has ended.  To be called when clients can connect. */
ImRunCommand *im_run_command_start (const char *command, const char *socket_path,
                                    const char *export_name, bool tls,
                                    void (*ended) (void *data), void *data,
                                    GError **error);

/* Asks it to end.  Any thread, before im_run_command_finish. */
void im_run_command_stop (ImRunCommand *command);

/* Waits for its end.  Once. */
void im_run_command_wait (ImRunCommand *command);

/* After the wait: frees it.  Returns its status as a shell tells it: 128 and the
 * signal's number where one ended it. */
int im_run_command_finish (ImRunCommand *command);
