/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --object TYPE,id=ID,KEY=VALUE…, or the same in JSON: taken apart, whatever its type. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
  const char *type; /* static text: one that is known */
  char *id;
  GPtrArray *pairs; /* of ImKeyValue, all of them; owned */
} ImObject;

/* Where a property of an object goes. */
typedef struct {
  const char *key;
  const char **value; /* borrows; a key that stood alone is "" */
} ImObjectProperty;

void im_object_free (void *object);

/* Takes TEXT apart.  Data that stands in it itself is made unreadable there, so that it
 * does not stay in the list of processes. */
ImObject *im_object_parse (char *text, GError **error);

/* The one with ID among OBJECTS, of ImObject, or NULL. */
const ImObject *im_object_find (const GPtrArray *objects, const char *id);

/* Appends OBJECT, which is freed where its id is taken already. */
bool im_object_add (GPtrArray *objects, ImObject *object, GError **error);

bool im_object_is (const ImObject *object, const char *type);

/* Only a server or client of NBD has a use for objects of that kind. */
bool im_object_is_for_nbd (const ImObject *object);

/* Puts the properties of OBJECT but its type and id where the N at PROPERTIES say; one
 * that is not among them is an error. */
bool im_object_read (const ImObject *object, const ImObjectProperty *properties, size_t n,
                     GError **error);

/* on, off, and the other words for them.  False: VALUE is none of them. */
bool im_object_parse_switch (const char *value, bool *ret_on);

/* Sets an IM_ERROR_USAGE error that begins with "--object TYPE,id=ID: ". */
bool im_object_refuse (const ImObject *object, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
