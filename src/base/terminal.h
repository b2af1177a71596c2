/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the terminal that we write to can show. */
#pragma once

#include <stdbool.h>

/* Where the system does not say. */
#define IM_TERMINAL_COLUMNS 80u

typedef struct {
  unsigned columns;
  bool utf8;    /* the locale's encoding: the process has called setlocale */
  bool colours; /* wanted (NO_COLOR) and known to the terminal (TERM) */
} ImTerminal;

/* False where FD is no terminal. */
bool im_terminal_look (int fd, ImTerminal *ret_terminal);
