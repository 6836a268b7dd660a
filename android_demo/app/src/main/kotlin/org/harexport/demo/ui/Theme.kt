package org.harexport.demo.ui

import android.os.Build
import androidx.compose.foundation.isSystemInDarkTheme
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.darkColorScheme
import androidx.compose.material3.dynamicDarkColorScheme
import androidx.compose.material3.dynamicLightColorScheme
import androidx.compose.material3.lightColorScheme
import androidx.compose.runtime.Composable
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.platform.LocalContext
import org.harexport.demo.activityColor

private val BLUE = Color(0xFF1F5FA8)
private val LIGHT_BLUE = Color(0xFFA9C8F5)

/** Material 3 with the colors of the user's wallpaper from Android 12 on. */
@Composable
fun DemoTheme(content: @Composable () -> Unit) {
    val isDark = isSystemInDarkTheme()
    val context = LocalContext.current
    val colors =
        when {
            Build.VERSION.SDK_INT >= Build.VERSION_CODES.S -> if (isDark) dynamicDarkColorScheme(context) else dynamicLightColorScheme(context)
            isDark -> darkColorScheme(primary = LIGHT_BLUE)
            else -> lightColorScheme(primary = BLUE)
        }
    MaterialTheme(colorScheme = colors, content = content)
}

/** The color of an activity, the same in all themes; white text on it has a contrast of at least 4.5. */
fun colorOf(label: String?): Color = Color(activityColor(label))
