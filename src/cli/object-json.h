/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --object {"qom-type": TYPE, "id": ID, …}: the same as KEY=VALUE,…, in JSON. */
#pragma once

#include <glib.h>

/* TEXT as im_key_values_parse gives TYPE,id=ID,…: the type first, members of members and
 * of arrays as "rules.0.match", true and false as "on" and "off". */
GPtrArray *im_object_json_parse (const char *text, GError **error);
