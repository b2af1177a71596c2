/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every option once: its names, where it belongs, how its value is read, its help. */
#pragma once

#include "cli/options.h"

typedef enum {
  IM_OPTION_FLAG,   /* a bool becomes true */
  IM_OPTION_COUNT,  /* a uint64_t goes up by one */
  IM_OPTION_STRING, /* a const char * */
  IM_OPTION_LIST,   /* a GPtrArray * of char *, one more each time */
  IM_OPTION_OBJECT, /* a GPtrArray * of ImObject, one more each time */
  IM_OPTION_NUMBER, /* a uint64_t between minimum and maximum */
  IM_OPTION_SIZE,   /* a uint64_t of at least minimum, with a suffix */
  IM_OPTION_CHOICE, /* a uint64_t becomes the value of one of `choices` */
  IM_OPTION_PRESET, /* a uint64_t becomes `preset`; a choice under another name */
  IM_OPTION_FORM,   /* chooses the form in `forms` */
  IM_OPTION_O,      /* -o, whose meaning hangs on the form */
} ImOptionKind;

/* A word and what it means; a list ends with a NULL word. */
typedef struct {
  const char *word;
  uint64_t value;
} ImOptionChoice;

typedef struct {
  const char *name; /* long, or NULL */
  char letter;      /* short, or 0 */
  ImOptionKind kind;
  size_t field;                  /* offset in ImOptions */
  unsigned forms;                /* ImForm bits where it is allowed */
  uint64_t minimum, maximum;     /* NUMBER; SIZE: the minimum alone */
  const ImOptionChoice *choices; /* CHOICE */
  bool last_wins;                /* CHOICE: it may be made again */
  uint64_t preset;               /* PRESET */
  const char *argument;          /* what --help calls it; NULL: takes none */
  const char *help;              /* one line; NULL: an entry that another one explains */
} ImOptionEntry;

/* In the order of --help. */
extern const ImOptionEntry im_option_table[];
extern const size_t im_option_table_length;
